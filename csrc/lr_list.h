/* lr_list: token ids into a Python list without making an int object for each. No Python header is needed: the two
 * functions of its stable ABI come in as pointers, every object as void *. */
#ifndef LR_LIST_H
#define LR_LIST_H

#include <stddef.h>
#include <stdint.h>

/* PyList_SetItem, which takes over a reference to `item`; ssize_t is intptr_t wherever Python runs. */
typedef int (*lr_list_set)(void *list, intptr_t index, void *item);

/* Py_IncRef. */
typedef void (*lr_list_hold)(void *item);

/* Puts ints[ids[i]] at list[at + i] for each of `count` ids. To be called with Python's lock held: through ctypes, by
 * its address. Borrowed: all. -1 when an id is not in 0 .. known - 1 or the list is too short. */
int lr_list_fill(void *list, intptr_t at, const int32_t *ids, size_t count, void **ints, size_t known,
                 lr_list_set set, lr_list_hold hold);

#endif
