#include "lr_list.h"

enum { AHEAD = 16 };

void *lr_list_make(const int32_t *ids, size_t count, void **ints, size_t known, lr_list_new make, lr_list_set set,
                   lr_list_hold hold) {
    /* First, so that no list with holes ever leaves. */
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= known) return NULL;
    void *list = make((intptr_t)count);
    for (size_t i = 0; i < count && list != NULL; i++) {
        /* The objects lie all over some megabytes, and each one's count of references is to be written. */
        if (i + AHEAD < count) __builtin_prefetch(ints[ids[i + AHEAD]], 1);
        void *item = ints[ids[i]];
        hold(item);
        (void)set(list, (intptr_t)i, item);
    }
    return list;
}
