/* What lr_gguf has to say in words, and the sizes of its value types. */
#include "lr_gguf.h"

#include <stddef.h>

static const uint8_t TYPE_BYTES[LR_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static const char *const TYPE_NAMES[LR_GGUF_TYPES] = {
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "float32",
    "bool", "string", "array", "uint64", "int64", "float64",
};

const char *lr_gguf_fault_text(uint32_t what) {
    static const char *const texts[LR_GGUF_FAULTS] = {
        [LR_GGUF_FINE] = "nothing is wrong",
        [LR_GGUF_MAGIC] = "not a GGUF file",
        [LR_GGUF_BIG_ENDIAN] = "a big-endian GGUF file",
        [LR_GGUF_VERSION_1] = "GGUF version 1, which llama.cpp no longer reads",
        [LR_GGUF_VERSION] = "an unknown GGUF version",
        [LR_GGUF_TRUNCATED] = "the file ends inside its header",
        [LR_GGUF_TOO_LONG] = "more than a header can hold",
        [LR_GGUF_STRING_LONG] = "an impossible string length",
        [LR_GGUF_ARRAY_LONG] = "an impossible array length",
        [LR_GGUF_ARRAY_DEEP] = "arrays nested too deep",
        [LR_GGUF_VALUE_TYPE] = "an unknown value type",
        [LR_GGUF_KEY_EMPTY] = "an empty key",
        [LR_GGUF_KEY_LONG] = "a key that is too long",
        [LR_GGUF_KEY_UTF8] = "a key that is not UTF-8",
        [LR_GGUF_KEY_TWICE] = "a key that stands there twice",
        [LR_GGUF_STRING_UTF8] = "a string that is not UTF-8",
        [LR_GGUF_ALIGNMENT] = "general.alignment is not a 32-bit power of two",
        [LR_GGUF_NAME_LONG] = "a tensor name that is too long",
        [LR_GGUF_NAME_UTF8] = "a tensor name that is not UTF-8",
        [LR_GGUF_NAME_TWICE] = "a tensor name that stands there twice",
        [LR_GGUF_DIMENSIONS] = "a tensor of too many dimensions",
        [LR_GGUF_SHAPE] = "a tensor too large for its size to be a number",
        [LR_GGUF_TENSOR_TYPE] = "a tensor type that is not known",
        [LR_GGUF_ROW] = "a row that is no whole number of blocks",
        [LR_GGUF_UNALIGNED] = "a tensor offset that is not aligned",
        [LR_GGUF_OVERLAP] = "a tensor that begins inside the one before",
        [LR_GGUF_GAP] = "a tensor that begins behind the end of the one before",
        [LR_GGUF_OUTSIDE] = "a tensor that ends behind the end of the file",
    };
    return what < LR_GGUF_FAULTS ? texts[what] : "an unknown fault";
}

uint32_t lr_gguf_type_bytes(uint32_t type) {
    return type < LR_GGUF_TYPES ? TYPE_BYTES[type] : 0;
}

const char *lr_gguf_type_name(uint32_t type) {
    return type < LR_GGUF_TYPES ? TYPE_NAMES[type] : NULL;
}
