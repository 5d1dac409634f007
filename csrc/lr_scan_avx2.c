/* Windows with AVX2. */
#include "lr_scan_chars_private.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))

AVX2 static inline uint64_t bits2(__m256i low, __m256i high) {
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

AVX2 static inline void to_masks(const lr_chars *chars, lr_masks *m) {
    const __m256i *flags = (const __m256i *)chars->flags, *forms = (const __m256i *)chars->forms;
    const __m256i f0 = _mm256_loadu_si256(flags), f1 = _mm256_loadu_si256(flags + 1);
    const __m256i c0 = _mm256_loadu_si256(forms), c1 = _mm256_loadu_si256(forms + 1);
#define BIT(x, k) bits2(_mm256_slli_epi16(x##0, 7 - (k)), _mm256_slli_epi16(x##1, 7 - (k)))
    m->letter = BIT(f, 0), m->number = BIT(f, 1), m->space = BIT(f, 2), m->newline = BIT(f, 3);
    m->upper = BIT(f, 4), m->lower = BIT(f, 5), m->mark = BIT(f, 6), m->punct = BIT(f, 7);
    m->short_one = BIT(c, 0), m->short_rv = BIT(c, 1), m->short_e = BIT(c, 2), m->short_l = BIT(c, 3);
    m->blank = BIT(c, 4), m->quote = BIT(c, 5), m->slash = BIT(c, 6), m->wide = BIT(c, 7);
#undef BIT
    m->n = chars->n;
}

/* One row of 16 of the table for each high half of a byte. */
AVX2 static inline __m256i look_up(const uint8_t *table, __m256i bytes) {
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(7));
    const __m256i low = _mm256_and_si256(bytes, _mm256_set1_epi8(15));
    __m256i found = _mm256_setzero_si256();
    for (unsigned row = 0; row < 8; row++) {
        const __m256i here = _mm256_cmpeq_epi8(high, _mm256_set1_epi8((char)row));
        const __m256i entries = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(table + 16 * row)));
        found = _mm256_or_si256(found, _mm256_and_si256(here, _mm256_shuffle_epi8(entries, low)));
    }
    return found;
}

static const uint8_t numbers[64] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
    44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

AVX2 static unsigned window(const lr_split *split, const uint8_t *text, size_t left, uint32_t from, uint32_t *ends) {
    lr_chars chars;
    lr_masks m;
    const uint8_t *at = chars.at;
    const __m256i *parts = (const __m256i *)text;
    if (left >= LR_WINDOW && bits2(_mm256_loadu_si256(parts), _mm256_loadu_si256(parts + 1)) == 0) {
        for (unsigned i = 0; i < 2; i++) {
            const __m256i c = _mm256_loadu_si256(parts + i);
            _mm256_storeu_si256((__m256i *)chars.flags + i, look_up(split->ascii, c));
            _mm256_storeu_si256((__m256i *)chars.forms + i, look_up(split->forms, c));
        }
        chars.n = LR_WINDOW;
        at = numbers;
    } else {
        lr_chars_read(split, text, left < LR_WINDOW ? left : LR_WINDOW, &chars);
    }
    to_masks(&chars, &m);
    return lr_places(lr_starts(split, &m), at, from, ends);
}

static unsigned scan(const lr_split *split, const uint8_t *text, size_t base, size_t *p, size_t end, uint32_t *ends,
                     unsigned room) {
    return lr_scan_by(window, split, text, base, p, end, ends, room);
}

static const lr_tier avx2 = {"avx2", scan, lr_look_key_plain, lr_look_put_plain};

const lr_tier *lr_tier_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt") ? &avx2 : NULL;
}

#else
const lr_tier *lr_tier_avx2(void) { return NULL; }
#endif
