/* One macro and one closing line for the C tests: a failed check says where and goes on. */
#ifndef LR_CHECK_H
#define LR_CHECK_H

#include <stdatomic.h>
#include <stdio.h>

static atomic_int lr_checks, lr_failures; /* some tests have several threads */

#define CHECK(condition)                                                       \
    do {                                                                       \
        lr_checks++;                                                           \
        if (!(condition)) {                                                    \
            lr_failures++;                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
        }                                                                      \
    } while (0)

static inline int lr_report(const char *name) {
    printf("%-12s %d checks, %d failed\n", name, lr_checks, lr_failures);
    return lr_failures != 0;
}

#endif
