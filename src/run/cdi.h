/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cdi.h - devices that the host offers to containers (Container Device Interface 1.0)
 *
 * A specification is a JSON or YAML file in one of a few directories; it names devices
 * ("vendor.com/class=name") and what a container must get for each: nodes, mounts, variables, hooks, groups.
 * The files are read anew at every use: they are small, and what installs drivers changes them.  YAML is read
 * by libyaml, which is loaded at the first such file. Specifications are the administrator's, requests are a
 * build's: a device that is not listed cannot be asked for.
 */
#ifndef MINKE_RUN_CDI_H
#define MINKE_RUN_CDI_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

#include <jansson.h>

struct cdi_device {
    char *name;             /* "vendor.com/class=name" */
    struct map annotations; /* string map: the specification's, then the device's */
    bool auto_allow;        /* needs no entitlement */
    json_t *edits;          /* array of containerEdits */
};
struct cdi_devices {
    struct cdi_device *v; /* sorted by name */
    size_t len;
};
void cdi_devices_deinit(struct cdi_devices *d);

/* All devices of the directories; of two with one name that of the later directory counts.  A file that
 * cannot be read or is no specification is left out, and the log says so. */
void cdi_load(const struct strv *dirs, struct cdi_devices *ret);
const struct cdi_device *cdi_get(const struct cdi_devices *d, const char *name); /* NULL: none */
/* Append the names of the devices that `wanted` means: one device, the first of a kind ("vendor.com/class"),
 * all of a kind
 * ("vendor.com/class=*"), or those of a class (annotation org.mobyproject.buildkit.device.class).  None is an
 * error unless `optional`: ERR_UNKNOWN. Names that are there already are not added again. */
struct error *cdi_find(const struct cdi_devices *d, const char *wanted, bool optional,
                       struct strv *ret) MUST_CHECK;
/* Append the edits of these devices to an array. */
void cdi_edits(const struct cdi_devices *d, const struct strv *names, json_t *ret);

/* Apply edits to a runtime specification (config.json). Errors: a device node that is not there. */
struct error *cdi_apply(const json_t *edits, json_t *spec) MUST_CHECK;

#endif
