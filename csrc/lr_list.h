/* lr_list: token ids into a Python list without making an int object for each. No Python header is needed: the functions
 * of its stable ABI come in as pointers, every object as void *. */
#ifndef LR_LIST_H
#define LR_LIST_H

#include <stddef.h>
#include <stdint.h>

/* PyList_New, which leaves the items to be set; ssize_t is intptr_t wherever Python runs. */
typedef void *(*lr_list_new)(intptr_t size);

/* PyList_SetItem, which takes over a reference to `item`. */
typedef int (*lr_list_set)(void *list, intptr_t index, void *item);

/* Py_IncRef. */
typedef void (*lr_list_hold)(void *item);

/* A new list of ints[ids[i]] for each of `count` ids. To be called with Python's lock held: through ctypes, by its
 * address. Borrowed: all but the list. Null when an id is not in 0 .. known - 1, or when Python has no memory and says
 * so. */
void *lr_list_make(const int32_t *ids, size_t count, void **ints, size_t known, lr_list_new make, lr_list_set set,
                   lr_list_hold hold);

#endif
