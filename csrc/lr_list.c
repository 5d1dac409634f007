#include "lr_list.h"

enum { AHEAD = 16 };

int lr_list_fill(void *list, intptr_t at, const int32_t *ids, size_t count, void **ints, size_t known,
                 lr_list_set set, lr_list_hold hold) {
    for (size_t i = 0; i < count; i++) {
        /* The objects lie all over some megabytes, and each one's count of references is to be written. */
        if (i + AHEAD < count && ids[i + AHEAD] >= 0 && (size_t)ids[i + AHEAD] < known)
            __builtin_prefetch(ints[ids[i + AHEAD]], 1);
        if (ids[i] < 0 || (size_t)ids[i] >= known) return -1;
        void *item = ints[ids[i]];
        hold(item);
        if (set(list, at + (intptr_t)i, item) != 0) return -1;
    }
    return 0;
}
