/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h - every bound on what comes from outside, by name
 *
 * A number that limits input stands here and nowhere else, so that docs and tests can cite it.
 */
#ifndef MINKE_BASE_LIMITS_H
#define MINKE_BASE_LIMITS_H

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* wire */
#define LIMIT_HTTP_HEADER_BYTES (64 * KIB) /* request line and header fields of one HTTP/1 request */
#define LIMIT_HTTP_HEADERS 256             /* header fields of one request */
#define LIMIT_HTTP_JSON_BODY (16 * MIB)    /* a JSON body that is read whole */
#define LIMIT_H2_STREAMS 250               /* concurrent streams of one HTTP/2 connection */
#define LIMIT_H2_HEADER_LIST (64 * KIB)    /* decoded header list of one stream */
#define LIMIT_H2_TRAILER_LIST (1 * MIB)    /* the same of a response: error details travel in trailers */
#define LIMIT_H2_STREAM_WINDOW (1 * MIB)   /* bytes of one stream that its reader has not taken */
#define LIMIT_H2_SEND_QUEUE (256 * KIB)    /* bytes of one stream that wait to be sent */
#define LIMIT_H2_FRAME (1 * MIB)           /* one HTTP/2 frame that we accept */
#define LIMIT_H2_CONTINUATIONS 8           /* CONTINUATION frames of one header block */
#define LIMIT_H2_SETTINGS 32               /* entries of one SETTINGS frame */
#define LIMIT_GRPC_MESSAGE (16 * MIB)      /* one gRPC message, both ways */
#define LIMIT_GRPC_TRAILERS (4 * MIB)      /* error details that we send; larger ones are left out */
#define LIMIT_GRPC_STATUS_TEXT (256 * KIB) /* an error's text that we send; what is longer is cut */
#define LIMIT_TUNNEL_MESSAGE (128 * KIB)   /* payload of one BytesMessage that we send */
#define LIMIT_HTTP_DRAIN (256 * KIB)       /* body left unread before the connection is given up */
#define LIMIT_HTTP_IDLE_NS (INT64_C(300) * 1000000000) /* a connection without a whole request head */
#define LIMIT_HTTP_CHUNK_LINE 256                      /* a chunk's size with its extensions */
#define LIMIT_PB_ARENA (256 * MIB)                     /* memory that one decoded protobuf message may take */
#define LIMIT_CONNECTIONS 4096                         /* open client connections */

/* tasks */
#define LIMIT_TASKS 4096 /* threads of the process that run a task */
/* Stack of one task; eight times that under a sanitizer.  It holds the walks that call themselves for each
 * directory, LIMIT_PATH_DEPTH deep, and is below what the kernel would make a huge page of. */
#define LIMIT_TASK_STACK (1536 * KIB)

/* the proxy of a step */
#define LIMIT_PROXY_REQUESTS                                                                                 \
    10000 /* that are recorded; a step that asks for more has no complete provenance */
#define LIMIT_PROXY_RECORD (8 * MIB)  /* their text */
#define LIMIT_TRUST_BUNDLE (10 * MIB) /* certificates that a root trusts; BuildKit's number */

/* parsers */
#define LIMIT_JSON_DEPTH 128
#define LIMIT_CONTROL_FILE (16 * MIB) /* Dockerfile, .dockerignore, frontend reads, ReadFile */
#define LIMIT_PASSWD_FILE (10 * MIB)  /* /etc/passwd, /etc/group of an image; BuildKit's number */
#define LIMIT_USER_GROUPS 65536       /* of one process; the kernel's number */
#define LIMIT_MANIFEST (8 * MIB)      /* manifest, index, image config */
#define LIMIT_ATTESTATION (80 * MIB)  /* one attested document of a build's result; BuildKit's number */
#define LIMIT_ATTESTATIONS 4096       /* files of one attestation bundle */
#define LIMIT_ATTESTATION_BUNDLE (4 * LIMIT_ATTESTATION) /* all its documents */
#define LIMIT_IMAGE_DESCRIPTORS 4096                     /* entries of one index, layers of one manifest */
#define LIMIT_TAR_PAX (1 * MIB)    /* one PAX or GNU long-name header, as Go's archive/tar */
#define LIMIT_TAR_XATTRS 1024      /* extended attributes of one archive entry */
#define LIMIT_TAR_ENTRIES 20000000 /* entries of one archive */
#define LIMIT_TAR_SPARSE 65536     /* fragments of one sparse file */
#define LIMIT_ZSTD_WINDOW_LOG 27   /* 128 MiB: window of foreign zstd frames */
#define LIMIT_PATH 4096
#define LIMIT_REGEX_BYTES (64 * KIB) /* one expression: path pattern, ${var/pattern/x} */
#define LIMIT_REGEX_INSTS 100000     /* its program, counts written out */
#define LIMIT_REGEX_CAPTURES 1000000 /* its instructions times its groups, where groups are asked for */
#define LIMIT_WORD_DEPTH 100         /* ${a:-${b:-...}} in a Dockerfile word */
#define LIMIT_WORD_BYTES (4 * MIB)   /* what variables may add to one Dockerfile word */
#define LIMIT_DOCKERFILE_LINE                                                                                \
    (64 * KIB) /* one physical line of a Dockerfile or .dockerignore, its end included */
#define LIMIT_DOCKERFILE_STAGES 4000 /* FROM instructions of one Dockerfile */
#define LIMIT_DOCKERFILE_INSTRUCTIONS                                                                        \
    30000 /* of one Dockerfile; what an instruction sees of those before it is searched in a line */
#define LIMIT_LOCATION_LINES 10000 /* of an error or a warning that are told one by one */
#define LIMIT_PATH_DEPTH 1024
#define LIMIT_LLB_OPS 100000       /* ops of one definition */
#define LIMIT_LLB_DEPTH 20000      /* longest chain of ops */
#define LIMIT_LLB_BYTES (64 * MIB) /* ops of a definition that we make */
#define LIMIT_LLB_SOURCES 1024     /* files that one definition's locations point into */
#define LIMIT_IMPORT_EDGES 1000000 /* of a definition as input: what asks for each op times its inputs */
#define LIMIT_EXEC_MOUNTS 1024     /* of one step */
#define LIMIT_FILE_ACTIONS 10000   /* of one step */
#define LIMIT_LLB_NESTING 8        /* definitions of sources within definitions, when shown */
#define LIMIT_BUILD_DEFINITION ((int)(16 * MIB)) /* a definition that a step reads; BuildKit's number */
#define LIMIT_BUILD_DEPTH 8                      /* steps that solve definitions within such definitions */
#define LIMIT_BUILD_SOLVES 1000                  /* definitions that the steps of one build solve */
#define LIMIT_VERTEX_NAME (32 * KIB)             /* name of one step as progress shows it */

/* images */
#define LIMIT_LOAD_ENTRIES 100000       /* members of one archive that is loaded */
#define LIMIT_LOAD_DOCUMENTS (64 * MIB) /* all its documents together */

/* devices */
#define LIMIT_CDI_SPEC MIB  /* one CDI specification */
#define LIMIT_YAML_DEPTH 64 /* nesting of a YAML document */

/* registry */
#define LIMIT_REGISTRY_TOKENS 256          /* tokens and passwords kept */
#define LIMIT_TOKEN_RESPONSE (1 * MIB)     /* a token server's answer */
#define LIMIT_REGISTRY_REDIRECTS 10        /* requests until one is answered, as Go counts them */
#define LIMIT_ATTESTATION_CHAIN (12 * MIB) /* documents of one image, in one answer */
#define LIMIT_INDEX_DEPTH 4                /* indexes within indexes */
#define LIMIT_PUSH_TASKS 5                 /* blobs of one push at once */
#define LIMIT_COMPRESS_TASKS 4             /* layers of one image hashed or compressed at once */
#define LIMIT_REGISTRY_CONNECTIONS 100     /* connections that one blob may take */

/* session */
#define LIMIT_SECRET (500 * KIB)
#define LIMIT_SESSIONS 1024       /* at once */
#define LIMIT_SESSION_METHODS 256 /* that one client announces */
#define LIMIT_SESSION_TOKENS 256  /* bearer tokens kept */
#define LIMIT_SYNC_REQUESTS 128   /* files under way at once: what fits a peer's queues */
#define LIMIT_SYNC_GROWTH                                                                                    \
    (64 * MIB)                     /* by how much a file may be longer than announced: it is being written */
#define LIMIT_SYNC_HELD (64 * KIB) /* of each file under way that is only compared */
#define LIMIT_SYNC_XATTRS (64 * KIB) /* names and values of one file */
#define LIMIT_SYNC_TEXT (512 * MIB)  /* names and link targets of one tree */
#define LIMIT_SYNC_ENTRIES 5000000   /* files of one transferred tree */

/* sources */
#define LIMIT_POLICY_MUTATIONS 20  /* conversions of one source by policies; BuildKit's number */
#define LIMIT_CONTEXT_RECURSION 10 /* other sources in the place of a named context; BuildKit's number */
#define LIMIT_POLICY_TASKS 32      /* sources that a client's verifier is asked about at once */
#define LIMIT_POLICY_REQUESTS 10   /* what a client's verifier may ask about one source; BuildKit's */
#define LIMIT_POLICY_IDENTIFIER (4 * KIB)      /* a source's identifier that a policy makes */
#define LIMIT_HTTP_SOURCE INT64_C(68719476736) /* 64 GiB: one file from a web server */
#define LIMIT_GIT_OUTPUT (16 * MIB)            /* what one git program says */
#define LIMIT_GIT_PACKS 64                     /* packs of a kept repository before it is made anew */
#define LIMIT_KEY_FILE (1 * MIB)               /* public keys and signatures that come with a source */
#define LIMIT_CHECKSUM_SUFFIX (4 * KIB) /* bytes that a client wants hashed behind a download; BuildKit's */

/* containers */
#define LIMIT_EXECS 4096 /* exec instances that are kept */

/* steps */
#define LIMIT_SOLVER_IO 64             /* resolves and downloads at once */
#define LIMIT_RESOLV_CONF (1 * MIB)    /* the host's resolv.conf */
#define LIMIT_STEP_CONNECTIONS 64      /* to one socket of a step at once; more wait */
#define LIMIT_STEP_LOG_SHOWN (2 * MIB) /* BuildKit's BUILDKIT_STEP_LOG_MAX_SIZE */
#define LIMIT_RECALL (1 * MIB)         /* remembered in memory of the cache, and as much of content */
#define LIMIT_STEP_LOGS 64             /* whole logs of clipped steps kept on disk, the newest */
#define LIMIT_STEP_LOG_KEPT (1 * GIB)  /* bytes of one of them */

/* build cache from elsewhere */
#define LIMIT_CACHE_CONFIG (2 * MIB) /* its records; BuildKit reads 1 MiB */
#define LIMIT_CACHE_MATCHES 64       /* records that one step may be */
#define LIMIT_CACHE_DOCUMENTS 4096   /* indexes and manifests that one cache is read from */
#define LIMIT_CACHE_IMPORTS 64       /* caches that one build reads */

/* gateway */
#define LIMIT_RESULT_ENTRIES 4096     /* refs and attestations of a result; four times that of metadata */
#define LIMIT_READ_DIR 1000000        /* entries of one listing: more fit into no message */
#define LIMIT_PRODUCERS 1000          /* requests within requests that a provenance tells of */
#define LIMIT_AHEAD_REQUESTS 64       /* whose base images are remembered */
#define LIMIT_AHEAD_IMAGES 8          /* of one such request */
#define LIMIT_GATEWAY_CONTAINERS 256  /* of one build at once */
#define LIMIT_GATEWAY_PROCESSES 256   /* of one ExecProcess stream, ended ones too */
#define LIMIT_GATEWAY_STDIN (1 * MIB) /* bytes of one process's input that it has not read */
#define LIMIT_GATEWAY_MOUNTS 1024     /* of one container */
#define LIMIT_FRONTEND_LINE (4 * KIB) /* one line that a frontend image says on stderr */
#define LIMIT_FRONTEND_LOG (1 * MIB)  /* what of it goes to the log */

/* store */
#define LIMIT_LAYERS 500 /* layers of one mount */
/* Of a merge that keeps repeated ones: engines take images of up to 127. */
#define LIMIT_REPEATED_LAYERS 120

#endif
