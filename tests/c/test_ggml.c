#include "check.h"
#include "lr_ggml.h"

#include <string.h>

int main(void) {
    uint64_t bytes = 0;
    int known = 0;
    for (uint32_t type = 0; type < 100; type++) {
        const char *name = lr_ggml_type_name(type);
        CHECK((name != NULL) == (lr_ggml_block_elements(type) > 0 && lr_ggml_block_bytes(type) > 0));
        known += name != NULL;
    }
    CHECK(known == 35);
    CHECK(strcmp(lr_ggml_type_name(12), "Q4_K") == 0 && strcmp(lr_ggml_type_name(39), "MXFP4") == 0);
    CHECK(lr_ggml_row_bytes(12, 512, &bytes) == LR_OK && bytes == 288);
    CHECK(lr_ggml_row_bytes(40, 64, &bytes) == LR_OK && bytes == 36);
    CHECK(lr_ggml_row_bytes(42, 64, &bytes) == LR_OK && bytes == 18);
    CHECK(lr_ggml_row_bytes(12, 0, &bytes) == LR_OK && bytes == 0);
    CHECK(lr_ggml_row_bytes(12, 255, &bytes) == LR_E_ARGUMENT);
    CHECK(lr_ggml_row_bytes(31, 256, &bytes) == LR_E_UNSUPPORTED);
    CHECK(lr_ggml_row_bytes(0, (uint64_t)1 << 61, &bytes) == LR_E_OVERFLOW);
    CHECK(lr_ggml_row_bytes(0, ((uint64_t)1 << 61) - 1, &bytes) == LR_OK && bytes == ((uint64_t)1 << 63) - 4);
    CHECK(lr_ggml_row_bytes(0, 1, NULL) == LR_E_ARGUMENT);
    return lr_report("lr_ggml");
}
