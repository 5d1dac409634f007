/* lr_gguf: walks the header of a GGUF file (version 2 or 3, little-endian) that lies in memory.
 *
 * Borrowed: the bytes, and every array in lr_gguf; nothing is allocated, nothing is kept. All that is found is
 * told as positions into the bytes, so that a vocabulary of 128k tokens costs one entry.
 * What llama.cpp would refuse is refused here, with what is wrong and at which byte; only arrays of arrays, which
 * the format allows and llama.cpp does not read, are walked to a depth of LR_GGUF_NEST.
 */
#ifndef LR_GGUF_H
#define LR_GGUF_H

#include "lr_ggml.h"
#include "lr_status.h"

#include <stdint.h>

enum {
    LR_GGUF_DIMS = 4,
    LR_GGUF_NEST = 4,           /* arrays within arrays */
    LR_GGUF_KEY_MAX = 65535,    /* bytes, by the format */
    LR_GGUF_NAME_MAX = 63,      /* bytes, by llama.cpp: GGML_MAX_NAME with its closing zero */
    LR_GGUF_HEAD_BYTES = 24,
    LR_GGUF_CLAIM_MAX = 1 << 30 /* the longest string, array or header that is believed */
};

typedef enum lr_gguf_type {
    LR_GGUF_UINT8, LR_GGUF_INT8, LR_GGUF_UINT16, LR_GGUF_INT16, LR_GGUF_UINT32, LR_GGUF_INT32,
    LR_GGUF_FLOAT32, LR_GGUF_BOOL, LR_GGUF_STRING, LR_GGUF_ARRAY, LR_GGUF_UINT64, LR_GGUF_INT64,
    LR_GGUF_FLOAT64, LR_GGUF_TYPES
} lr_gguf_type;

typedef enum lr_gguf_fault {
    LR_GGUF_FINE,
    LR_GGUF_MAGIC,        /* does not begin with "GGUF" */
    LR_GGUF_BIG_ENDIAN,
    LR_GGUF_VERSION_1,
    LR_GGUF_VERSION,      /* not a version that is known; detail: which */
    LR_GGUF_TRUNCATED,    /* the file ends inside its header; detail: bytes needed at least */
    LR_GGUF_TOO_LONG,     /* a header of more than LR_GGUF_CLAIM_MAX bytes; detail: counts claimed */
    LR_GGUF_STRING_LONG,  /* detail: the length claimed */
    LR_GGUF_ARRAY_LONG,   /* detail: the count claimed */
    LR_GGUF_ARRAY_DEEP,
    LR_GGUF_VALUE_TYPE,   /* detail: the type */
    LR_GGUF_KEY_EMPTY,
    LR_GGUF_KEY_LONG,     /* detail: its length */
    LR_GGUF_KEY_UTF8,
    LR_GGUF_KEY_TWICE,    /* detail: index of the first */
    LR_GGUF_STRING_UTF8,  /* a string value; strings in arrays are not looked at */
    LR_GGUF_ALIGNMENT,    /* general.alignment is not a 32-bit power of two; detail: its value */
    LR_GGUF_NAME_LONG,    /* detail: its length */
    LR_GGUF_NAME_UTF8,
    LR_GGUF_NAME_TWICE,   /* detail: index of the first */
    LR_GGUF_DIMENSIONS,   /* more than LR_GGUF_DIMS; detail: how many */
    LR_GGUF_SHAPE,        /* so many elements or bytes that a size overflows */
    LR_GGUF_TENSOR_TYPE,  /* detail: the type */
    LR_GGUF_ROW,          /* a row that is no whole number of blocks; detail: its length */
    LR_GGUF_UNALIGNED,    /* an offset that is no multiple of the alignment; detail: the offset */
    LR_GGUF_OVERLAP,      /* begins inside the tensor before; detail: the offset expected */
    LR_GGUF_GAP,          /* begins behind the end of the tensor before; detail: the offset expected */
    LR_GGUF_OUTSIDE,      /* ends behind the end of the file; detail: the file size needed */
    LR_GGUF_FAULTS
} lr_gguf_fault;

/* One metadata pair. `at` and `bytes` span the value: for a string its characters, for an array all elements. */
typedef struct lr_gguf_kv {
    uint64_t key_at;
    uint64_t at;
    uint64_t bytes;
    uint64_t count;   /* elements of an array, else 1 */
    uint32_t key_bytes;
    uint32_t type;    /* lr_gguf_type */
    uint32_t element; /* an array's element type, else = type */
    uint32_t zero;
} lr_gguf_kv;

typedef struct lr_gguf_tensor {
    uint64_t name_at;
    uint64_t offset;  /* from lr_gguf.data_offset */
    uint64_t bytes;   /* without padding */
    uint64_t dims[4]; /* ggml order; 1 beyond n_dims */
    uint32_t name_bytes;
    uint32_t n_dims;
    uint32_t type;    /* ggml's */
    uint32_t zero;
} lr_gguf_tensor;

typedef struct lr_gguf {
    /* in */
    const uint8_t *data;
    uint64_t size;           /* bytes at data: the file from its start, whole or in part */
    uint64_t file_size;      /* of the whole file, >= size; 0: unknown, then nothing is truncated or outside */
    uint64_t seed;           /* for the table of names: random where the file is not trusted */
    lr_gguf_kv *kvs;         /* room for kv_room */
    uint64_t kv_room;
    lr_gguf_tensor *tensors; /* room for tensor_room */
    uint64_t tensor_room;
    uint32_t *slots;         /* scratch that finds duplicates */
    uint64_t slot_room;
    /* out */
    uint64_t n_kv;           /* from here on valid with LR_OK, LR_FULL and most faults */
    uint64_t n_tensors;
    uint64_t n_slots;        /* the slot_room that is needed */
    uint64_t need;           /* with LR_MORE: no fewer bytes than these can hold the header; > size */
    uint64_t alignment;
    uint64_t data_offset;    /* of the tensor data, from the start of the file */
    uint64_t data_bytes;     /* of the tensor data, padding between tensors included */
    uint64_t at;             /* with LR_E_FORMAT: the byte */
    uint64_t detail;         /* with LR_E_FORMAT: see lr_gguf_fault */
    uint64_t index;          /* with LR_E_FORMAT: the pair or the tensor */
    uint32_t fault;          /* lr_gguf_fault */
    uint32_t version;
} lr_gguf;

/* Reads the fixed first 24 bytes, then all pairs and tensor infos.
 * LR_OK: g holds the whole header. LR_MORE: come back with g->need bytes or more. LR_FULL: come back with room for
 * n_kv pairs, n_tensors tensors and n_slots slots, in all less than 10 times `size` bytes, before anything but the
 * counts was read. LR_E_FORMAT: fault, at, detail, index. LR_E_ARGUMENT: a null where there is room or size, or a
 * file smaller than its part. Linear in `size`. */
lr_status lr_gguf_walk(lr_gguf *g);

/* A few words for a fault, never null; static storage. */
const char *lr_gguf_fault_text(uint32_t fault);

/* Bytes of one value of this type; 0 for strings, arrays and unknown types. */
uint32_t lr_gguf_type_bytes(uint32_t type);

/* "uint32" for 4 ...; null for an unknown type. Static storage. */
const char *lr_gguf_type_name(uint32_t type);

/* Fills starts[0 .. count-1] and lengths with the positions of `count` strings that begin at `at` of data.
 * LR_E_FORMAT: they do not lie within `size`. */
lr_status lr_gguf_strings(const uint8_t *data, uint64_t size, uint64_t at, uint64_t count, uint64_t *starts,
                          uint32_t *lengths);

#endif
