#include "check.h"
#include "lr_kv.h"

#include <stddef.h>

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, IQ4_NL = 20, BF16 = 30, Q4_K = 12 };

/* Figures that llama.cpp's dry run gave. */
static const lr_kv_layer V32[] = {{61, 1, 576, 0, 128, 0}};
static const lr_kv_layer DEEPSEEK2[] = {{61, 1, 576, 0, 0, 0}};
static const lr_kv_layer LEGACY[] = {{61, 128, 192, 128, 0, 0}};
static const lr_kv_layer SCOUT[] = {{12, 8, 128, 128, 0, 0}, {36, 8, 128, 128, 0, 1}};

static uint64_t bytes_of(const lr_kv_layer *layers, uint32_t n, lr_kv_use use) {
    lr_kv_size size;
    CHECK(lr_kv_bytes(layers, n, &use, &size) == LR_OK);
    return size.bytes;
}

static uint64_t mla(const lr_kv_layer *layers, uint64_t n_ctx, uint32_t type) {
    return bytes_of(layers, 1, (lr_kv_use){.n_ctx = n_ctx, .n_seq = 1, .n_ubatch = 512, .type_k = type, .type_v = type});
}

static uint64_t scout(lr_kv_use use) {
    use.window = 8192;
    return bytes_of(SCOUT, 2, use);
}

static void test_dry_runs(void) {
    CHECK(mla(V32, 4096, F16) == 351797248);
    CHECK(mla(V32, 32768, Q8_0) == 1495138304);
    CHECK(mla(V32, 163840, F16) == 14071889920);
    CHECK(mla(DEEPSEEK2, 163840, F16) == 11513364480);
    CHECK(mla(LEGACY, 4096, F16) / mla(DEEPSEEK2, 4096, F16) == 71);
    CHECK(scout((lr_kv_use){.n_ctx = 131072, .n_seq = 4, .n_ubatch = 512, .type_k = F16, .type_v = F16}) == 11576279040);
    CHECK(scout((lr_kv_use){.n_ctx = 131072, .n_seq = 4, .n_ubatch = 512, .type_k = F16, .type_v = F16, .unified = 1})
          == 11349786624);
    CHECK(scout((lr_kv_use){.n_ctx = 32768, .n_seq = 1, .n_ubatch = 512, .type_k = Q8_0, .type_v = Q8_0}) == 1537474560);
    CHECK(scout((lr_kv_use){.n_ctx = 32768, .n_seq = 1, .n_ubatch = 2048, .type_k = F16, .type_v = F16}) == 3120562176);
    CHECK(scout((lr_kv_use){.n_ctx = 32768, .n_seq = 1, .n_ubatch = 512, .type_k = F16, .type_v = F16, .swa_full = 1})
          == 6442450944);
}

static void test_types(void) {
    static const struct { uint32_t type; uint64_t per_32; } rows[] = {
        {F32, 128}, {F16, 64}, {BF16, 64}, {Q8_0, 34}, {Q5_1, 24}, {Q5_0, 22}, {Q4_1, 20}, {Q4_0, 18}, {IQ4_NL, 18}};
    const lr_kv_layer layer = {1, 1, 64, 32, 0, 0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof rows / sizeof *rows; j++)
            CHECK(bytes_of(&layer, 1, (lr_kv_use){.n_ctx = 256, .type_k = rows[i].type, .type_v = rows[j].type})
                  == 256 * (2 * rows[i].per_32 + rows[j].per_32));
}

static void test_cells(void) {
    lr_kv_size s;
    lr_kv_use use = {.n_ctx = 1000, .n_seq = 3, .n_ubatch = 100, .window = 50};
    CHECK(lr_kv_cells(&use, &s) == LR_OK && s.cells == 512 && s.streams == 3 && s.swa_cells == 256);
    use.unified = 1;
    CHECK(lr_kv_cells(&use, &s) == LR_OK && s.cells == 1024 && s.streams == 1 && s.swa_cells == 256);
    use.window = 400;
    CHECK(lr_kv_cells(&use, &s) == LR_OK && s.swa_cells == 1024);
    use.window = UINT64_MAX;
    CHECK(lr_kv_cells(&use, &s) == LR_OK && s.swa_cells == 1024);
    use = (lr_kv_use){.n_ctx = 1, .n_seq = 1000};
    CHECK(lr_kv_cells(&use, &s) == LR_OK && s.cells == 256 && s.streams == 1000 && s.swa_cells == 0);
    use.n_ctx = 0;
    CHECK(lr_kv_cells(&use, &s) == LR_E_ARGUMENT && lr_kv_cells(NULL, &s) == LR_E_ARGUMENT);
    use.n_ctx = ((uint64_t)1 << 40) + 1;
    CHECK(lr_kv_cells(&use, &s) == LR_E_LIMIT);
}

static void test_refusals(void) {
    lr_kv_size s;
    const lr_kv_layer odd = {1, 8, 80, 80, 0, 0}, none = {10, 0, 0, 0, 0, 0};
    lr_kv_use use = {.n_ctx = 4096, .n_seq = 1, .type_k = Q8_0, .type_v = F16};
    CHECK(lr_kv_bytes(&odd, 1, &use, &s) == LR_E_UNSUPPORTED); /* 80 is no multiple of 32 */
    CHECK(lr_kv_bytes(V32, 1, &use, &s) == LR_E_UNSUPPORTED);  /* MLA with two types */
    CHECK(lr_kv_bytes(&none, 1, &use, &s) == LR_OK && s.bytes == 0);
    use.type_k = Q4_K;
    CHECK(lr_kv_bytes(&none, 1, &use, &s) == LR_E_UNSUPPORTED);
    use = (lr_kv_use){.n_ctx = 4096, .type_k = F16, .type_v = F16};
    CHECK(lr_kv_bytes(NULL, 1, &use, &s) == LR_E_ARGUMENT && lr_kv_bytes(NULL, 0, &use, &s) == LR_OK);
    const lr_kv_layer huge[] = {{UINT32_MAX, UINT32_MAX, UINT32_MAX, 1, 0, 0}};
    CHECK(lr_kv_bytes(huge, 1, &use, &s) == LR_E_OVERFLOW);
    const lr_kv_layer wide[] = {{1, UINT32_MAX, 1 << 20, 1, 0, 1}, {1, UINT32_MAX, 1 << 20, 1, 0, 0}};
    use.n_ctx = (uint64_t)1 << 30;
    CHECK(lr_kv_bytes(wide, 2, &use, &s) == LR_E_OVERFLOW);
}

int main(void) {
    test_dry_runs();
    test_types();
    test_cells();
    test_refusals();
    return lr_report("lr_kv");
}
