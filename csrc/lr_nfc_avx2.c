/* Windows of 64 bytes with AVX2: most are quiet by their characters' first bytes alone. */
#include "lr_nfc_private.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* Whether a character begins in these 32 bytes that may not be quiet. */
AVX2 static inline int may_be_loud(const uint8_t *text) {
    const __m256i c = _mm256_loadu_si256((const __m256i *)text);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(c, 4), _mm256_set1_epi8(15));
    const __m256i rows = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)lr_nfc_rows));
    const __m256i lows = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)lr_nfc_lows));
    const __m256i low = _mm256_shuffle_epi8(lows, _mm256_and_si256(c, _mm256_set1_epi8(15)));
    return !_mm256_testz_si256(low, _mm256_shuffle_epi8(rows, high));
}

AVX2 static uint64_t loud(const uint8_t *text, size_t left) {
    if (left >= 64 && !may_be_loud(text) && !may_be_loud(text + 32)) return 0;
    return lr_nfc_loud_scalar(text, left);
}

lr_nfc_loud lr_nfc_loud_avx2(void) {
    return __builtin_cpu_supports("avx2") ? loud : NULL;
}

#else
lr_nfc_loud lr_nfc_loud_avx2(void) { return NULL; }
#endif
