/* lr_sample: one token id out of a model's logits.
 *
 * Values in, values out; nothing is allocated. Samplers come in llama.cpp's order: top_k, top_p, min_p, temperature,
 * chance. A NaN is never chosen. Of equal logits the lower id comes first.
 * Chance is splitmix64 (Steele, Lea and Flood, 2014): one 64-bit state, which the seed begins; the top 53 bits of
 * each number make a double in [0, 1). One number is drawn per sampled token, none for a greedy one.
 */
#ifndef LR_SAMPLE_H
#define LR_SAMPLE_H

#include "lr_status.h"

#include <stdint.h>

typedef struct lr_sample_params {
    float temperature; /* 0: the likeliest token, whatever else is set */
    float top_p;       /* the likeliest tokens that make up this share; 1: off */
    float min_p;       /* tokens at least this likely, in parts of the likeliest; 0: off */
    int32_t top_k;     /* so many tokens at most; 0: off */
} lr_sample_params;

typedef struct lr_candidate {
    float logit;
    float weight; /* e^(logit - the greatest), before temperature */
    int32_t id;
} lr_candidate;

/* LR_E_ARGUMENT: null, or a parameter that is NaN or out of its range. */
lr_status lr_sample_check(const lr_sample_params *params);

/* Chooses one of `n` logits. `scratch` has room for `n` candidates; a greedy choice does not touch it.
 * LR_E_ARGUMENT: null, n = 0 or over 2^31 - 1, parameters that lr_sample_check refuses.
 * LR_E_FORMAT: no logit is a number over -infinity. */
lr_status lr_sample(const lr_sample_params *params, uint64_t *chance, const float *logits, uint32_t n,
                    lr_candidate *scratch, int32_t *id);

/* What lr_sample draws from: the first *kept of `scratch`, in no order, after top_k, top_p and min_p. */
lr_status lr_sample_keep(const lr_sample_params *params, const float *logits, uint32_t n, lr_candidate *scratch,
                         uint32_t *kept);

/* The next number of splitmix64. */
uint64_t lr_sample_chance(uint64_t *chance);

#endif
