/* Stands before all else where the core is compiled for test_leaks: its allocations go through functions that count
 * what is not yet freed, and fail where they are told to. It includes nothing: which of the system's declarations
 * are visible is each source's own choice. */
#ifndef LR_COUNTED_H
#define LR_COUNTED_H

void *counted_malloc(__SIZE_TYPE__ size);
void *counted_calloc(__SIZE_TYPE__ n, __SIZE_TYPE__ size);
void *counted_realloc(void *old, __SIZE_TYPE__ size);
void *counted_aligned(__SIZE_TYPE__ alignment, __SIZE_TYPE__ size);
int counted_memalign(void **memory, __SIZE_TYPE__ alignment, __SIZE_TYPE__ size);
void counted_free(void *memory);

#ifndef LR_COUNTED_SELF
#define malloc counted_malloc
#define calloc counted_calloc
#define realloc counted_realloc
#define aligned_alloc counted_aligned
#define posix_memalign counted_memalign
#define free counted_free
#endif

#endif
