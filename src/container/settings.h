/* SPDX-License-Identifier: Apache-2.0 */
/* settings.h - a container's configuration over the one that it comes from */
#ifndef MINKE_CONTAINER_SETTINGS_H
#define MINKE_CONTAINER_SETTINGS_H

#include <jansson.h>

/* Merge the image's config into what was asked for (docker's rules). */
void settings_merge_image(json_t *config, const json_t *image);

#endif
