/* The scans over all logits, for each kind of CPU. All tiers give the same results. */
#ifndef LR_SAMPLE_PRIVATE_H
#define LR_SAMPLE_PRIVATE_H

#include <stdint.h>

/* Logits are cut into at most LR_ROWS rows, and a row into LR_GROUPS interleaved groups: group g holds its logits g,
 * g + LR_GROUPS, ... so that one vector instruction looks at one logit of each. */
enum { LR_GROUPS = 16, LR_ROWS = 128, LR_ROW_LEAST = 2048 };

typedef struct lr_sample_scan {
    const char *name;
    /* The greatest logit of each group of one row of `n`; -infinity for a group of NaNs or of nothing. */
    void (*row_max)(const float *logits, uint32_t n, float *groups);
    /* The sum of e^((logit - top) * scale) over one row; a NaN counts as nothing. */
    double (*row_mass)(const float *logits, uint32_t n, float top, float scale);
} lr_sample_scan;

/* The one called `name`, or the best that this CPU has. */
const lr_sample_scan *lr_sample_scan_choose(const char *name);

/* e^x for x <= 0, within 3e-7 of itself; 0 below -87 and for NaN. The same in every tier. */
float lr_sample_exp(float x);

#endif
