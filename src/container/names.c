/* SPDX-License-Identifier: Apache-2.0 */
#include "container/names.h"

#include "base/bytes.h"

#include <ctype.h>

static const char *const adjectives[] = {
    "agile",  "amber",   "ample",  "apt",    "balmy",    "bold",    "brave",  "breezy", "bright",  "brisk",
    "calm",   "candid",  "clever", "cosy",   "crisp",    "curious", "deft",   "eager",  "earnest", "fleet",
    "frank",  "gentle",  "glad",   "golden", "graceful", "hardy",   "hearty", "honest", "jolly",   "keen",
    "kind",   "lively",  "lucid",  "mellow", "merry",    "mighty",  "modest", "nimble", "noble",   "patient",
    "placid", "playful", "plucky", "proud",  "quick",    "quiet",   "ready",  "sage",   "serene",  "sharp",
    "silent", "smart",   "solid",  "spry",   "steady",   "stoic",   "sunny",  "swift",  "tidy",    "tranquil",
    "upbeat", "vivid",   "warm",   "wise",   "witty",    "zesty",
};
static const char *const people[] = {
    "agnesi",    "ampere",     "anning",     "archimedes",   "babbage",    "bardeen",  "bell",
    "bernoulli", "bose",       "brahe",      "cantor",       "carson",     "cauchy",   "celsius",
    "chandra",   "church",     "copernicus", "curie",        "darwin",     "dijkstra", "dirac",
    "edison",    "einstein",   "engelbart",  "eratosthenes", "euclid",     "euler",    "faraday",
    "fermat",    "fermi",      "fourier",    "franklin",     "galileo",    "galois",   "gauss",
    "germain",   "goodall",    "hamilton",   "hawking",      "heisenberg", "hertz",    "hilbert",
    "hooke",     "hopper",     "hubble",     "humboldt",     "hypatia",    "jacobi",   "johnson",
    "joliot",    "kepler",     "knuth",      "kovalevskaya", "lamarr",     "laplace",  "lavoisier",
    "leibniz",   "linnaeus",   "lovelace",   "maxwell",      "mcclintock", "meitner",  "mendel",
    "mendeleev", "mirzakhani", "newton",     "noether",      "pascal",     "pasteur",  "planck",
    "poincare",  "ptolemy",    "raman",      "ramanujan",    "ride",       "riemann",  "ritchie",
    "rubin",     "rutherford", "sagan",      "shannon",      "tesla",      "thompson", "turing",
    "volta",     "wallace",    "watt",       "wien",         "wing",       "wu",
};

char *name_generate(unsigned attempt)
{
    uint32_t r[3];

    random_bytes(r, sizeof(r));
    const char *adjective = adjectives[r[0] % ARRAY_LEN(adjectives)];
    const char *person = people[r[1] % ARRAY_LEN(people)];
    return attempt == 0 ? xasprintf("%s_%s", adjective, person)
                        : xasprintf("%s_%s%u", adjective, person, r[2] % (attempt * 10));
}

bool name_valid(const char *name)
{
    if (!isalnum((unsigned char)name[0]) || name[1] == '\0')
        return false;
    for (const char *p = name; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr("_.-", *p) == NULL)
            return false;
    return true;
}
