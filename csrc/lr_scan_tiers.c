/* Masks out of bytes, for each kind of CPU. All tiers make the same masks. */
#include "lr_scan_private.h"

#include <string.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define LR_X86 1
#include <immintrin.h>
#elif defined(__aarch64__)
#define LR_NEON 1
#include <arm_neon.h>
#endif

/* The lowest bit of each of 8 bytes, gathered into 8 bits. */
static inline uint64_t gather(uint64_t bytes) {
    return (bytes & 0x0101010101010101u) * 0x0102040810204080u >> 56;
}

static inline uint64_t load8(const uint8_t *p) {
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++) value |= (uint64_t)p[i] << 8 * i;
    return value;
}

/* 0x01 in each byte of x that is c, for bytes below 128 only or c = LR_WIDE's top bit: see flags_scalar. */
static inline uint64_t equal(uint64_t x, uint8_t c) {
    const uint64_t y = x ^ 0x0101010101010101u * c;
    return ~(((y & 0x7F7F7F7F7F7F7F7Fu) + 0x7F7F7F7F7F7F7F7Fu) | y) >> 7;
}

static void flags_scalar(const uint8_t *flags, const uint8_t *chars, lr_masks *m) {
    uint64_t *by_flag[8] = {&m->letter, &m->number, &m->space, &m->newline, &m->upper, &m->lower, &m->mark, &m->punct};
    memset(m, 0, sizeof *m);
    for (unsigned i = 0; i < LR_WINDOW; i += 8) {
        const uint64_t f = load8(flags + i), c = load8(chars + i);
        for (unsigned k = 0; k < 8; k++) *by_flag[k] |= gather(f >> k) << i;
        m->blank |= gather(equal(c, ' ')) << i;
        m->quote |= gather(equal(c, '\'')) << i;
        m->slash |= gather(equal(c, '/')) << i;
        m->wide |= gather(c >> 7) << i;
    }
}

static void ascii_scalar(const lr_split *split, const uint8_t *text, lr_masks *m) {
    uint8_t flags[LR_WINDOW];
    for (unsigned i = 0; i < LR_WINDOW; i++) flags[i] = split->ascii[text[i] & 0x7F];
    flags_scalar(flags, text, m);
}

static unsigned places_scalar(uint64_t bits, uint32_t from, uint32_t *out) {
    const unsigned count = (unsigned)__builtin_popcountll(bits);
    while (bits) {
        /* Four at once: how many there are is hard to foresee, whether there are four more is not. */
        for (unsigned i = 0; i < 4; i++, bits &= bits - 1) *out++ = from + (bits ? (uint32_t)__builtin_ctzll(bits) : 0);
    }
    return count;
}

static const lr_tier scalar = {"scalar", ascii_scalar, flags_scalar, places_scalar};

#ifdef LR_X86

#define AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi,popcnt")))

AVX2 static inline uint64_t bits2(__m256i low, __m256i high) {
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

AVX2 static void flags_avx2(const uint8_t *flags, const uint8_t *chars, lr_masks *m) {
    const __m256i f0 = _mm256_loadu_si256((const __m256i *)flags), f1 = _mm256_loadu_si256((const __m256i *)(flags + 32));
    const __m256i c0 = _mm256_loadu_si256((const __m256i *)chars), c1 = _mm256_loadu_si256((const __m256i *)(chars + 32));
#define BIT(k) bits2(_mm256_slli_epi16(f0, 7 - (k)), _mm256_slli_epi16(f1, 7 - (k)))
#define IS(c) bits2(_mm256_cmpeq_epi8(c0, _mm256_set1_epi8(c)), _mm256_cmpeq_epi8(c1, _mm256_set1_epi8(c)))
    m->letter = BIT(0), m->number = BIT(1), m->space = BIT(2), m->newline = BIT(3);
    m->upper = BIT(4), m->lower = BIT(5), m->mark = BIT(6), m->punct = BIT(7);
    m->blank = IS(' '), m->quote = IS('\''), m->slash = IS('/');
    m->wide = bits2(c0, c1);
#undef BIT
#undef IS
}

/* One row of 16 of the table for each high half of a byte. */
AVX2 static inline __m256i look_up_avx2(const __m256i *rows, __m256i bytes) {
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(7));
    const __m256i low = _mm256_and_si256(bytes, _mm256_set1_epi8(15));
    __m256i found = _mm256_setzero_si256();
    for (char row = 0; row < 8; row++) {
        const __m256i here = _mm256_cmpeq_epi8(high, _mm256_set1_epi8(row));
        found = _mm256_or_si256(found, _mm256_and_si256(here, _mm256_shuffle_epi8(rows[(unsigned)row], low)));
    }
    return found;
}

AVX2 static void ascii_avx2(const lr_split *split, const uint8_t *text, lr_masks *m) {
    __m256i rows[8];
    for (unsigned i = 0; i < 8; i++)
        rows[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(split->ascii + 16 * i)));
    uint8_t flags[LR_WINDOW];
    for (unsigned i = 0; i < LR_WINDOW; i += 32) {
        const __m256i bytes = _mm256_loadu_si256((const __m256i *)(text + i));
        _mm256_storeu_si256((__m256i *)(flags + i), look_up_avx2(rows, bytes));
    }
    flags_avx2(flags, text, m);
}

AVX2 static unsigned places_bmi(uint64_t bits, uint32_t from, uint32_t *out) {
    const unsigned count = (unsigned)__builtin_popcountll(bits);
    while (bits)
        for (unsigned i = 0; i < 4; i++, bits &= bits - 1) *out++ = from + (uint32_t)_tzcnt_u64(bits);
    return count;
}

AVX512 static unsigned places_avx512(uint64_t bits, uint32_t from, uint32_t *out) {
    static const uint8_t numbers[64] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
        44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    const __m512i places = _mm512_maskz_compress_epi8(bits, _mm512_loadu_si512(numbers)), base = _mm512_set1_epi32((int)from);
    _mm512_storeu_si512(out, _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm512_castsi512_si128(places)), base));
    const unsigned count = (unsigned)__builtin_popcountll(bits);
    if (count <= 16) return count;
    _mm512_storeu_si512(out + 16, _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(places, 1)), base));
    if (count <= 32) return count;
    _mm512_storeu_si512(out + 32, _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(places, 2)), base));
    _mm512_storeu_si512(out + 48, _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(places, 3)), base));
    return count;
}

AVX512 static inline void split_flags(__m512i f, __m512i c, lr_masks *m) {
#define BIT(k) _mm512_test_epi8_mask(f, _mm512_set1_epi8((char)(1 << (k))))
    m->letter = BIT(0), m->number = BIT(1), m->space = BIT(2), m->newline = BIT(3);
    m->upper = BIT(4), m->lower = BIT(5), m->mark = BIT(6), m->punct = BIT(7);
    m->blank = _mm512_cmpeq_epi8_mask(c, _mm512_set1_epi8(' '));
    m->quote = _mm512_cmpeq_epi8_mask(c, _mm512_set1_epi8('\''));
    m->slash = _mm512_cmpeq_epi8_mask(c, _mm512_set1_epi8('/'));
    m->wide = _mm512_movepi8_mask(c);
#undef BIT
}

AVX512 static void flags_avx512(const uint8_t *flags, const uint8_t *chars, lr_masks *m) {
    split_flags(_mm512_loadu_si512(flags), _mm512_loadu_si512(chars), m);
}

AVX512 static void ascii_avx512(const lr_split *split, const uint8_t *text, lr_masks *m) {
    const __m512i low = _mm512_loadu_si512(split->ascii), high = _mm512_loadu_si512(split->ascii + 64);
    const __m512i c = _mm512_loadu_si512(text);
    split_flags(_mm512_permutex2var_epi8(low, c, high), c, m);
}

static const lr_tier avx2 = {"avx2", ascii_avx2, flags_avx2, places_bmi};
static const lr_tier avx512 = {"avx512", ascii_avx512, flags_avx512, places_avx512};
#endif

#ifdef LR_NEON
static inline uint64_t bits_neon(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d) {
    static const uint8_t weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t w = vld1q_u8(weights);
    const uint8x16_t ab = vpaddq_u8(vandq_u8(a, w), vandq_u8(b, w)), cd = vpaddq_u8(vandq_u8(c, w), vandq_u8(d, w));
    const uint8x16_t all = vpaddq_u8(ab, cd);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

static void flags_neon(const uint8_t *flags, const uint8_t *chars, lr_masks *m) {
    uint64_t *by_flag[8] = {&m->letter, &m->number, &m->space, &m->newline, &m->upper, &m->lower, &m->mark, &m->punct};
    uint8x16_t f[4], c[4];
    for (unsigned i = 0; i < 4; i++) f[i] = vld1q_u8(flags + 16 * i), c[i] = vld1q_u8(chars + 16 * i);
    for (unsigned k = 0; k < 8; k++) {
        const uint8x16_t bit = vdupq_n_u8((uint8_t)(1 << k));
        *by_flag[k] = bits_neon(vtstq_u8(f[0], bit), vtstq_u8(f[1], bit), vtstq_u8(f[2], bit), vtstq_u8(f[3], bit));
    }
#define IS(x) bits_neon(vceqq_u8(c[0], x), vceqq_u8(c[1], x), vceqq_u8(c[2], x), vceqq_u8(c[3], x))
    m->blank = IS(vdupq_n_u8(' ')), m->quote = IS(vdupq_n_u8('\'')), m->slash = IS(vdupq_n_u8('/'));
#undef IS
    const uint8x16_t top = vdupq_n_u8(0x80);
    m->wide = bits_neon(vtstq_u8(c[0], top), vtstq_u8(c[1], top), vtstq_u8(c[2], top), vtstq_u8(c[3], top));
}

static void ascii_neon(const lr_split *split, const uint8_t *text, lr_masks *m) {
    uint8_t flags[LR_WINDOW];
    for (unsigned i = 0; i < LR_WINDOW; i++) flags[i] = split->ascii[text[i] & 0x7F];
    flags_neon(flags, text, m);
}

static const lr_tier neon = {"neon", ascii_neon, flags_neon, places_scalar};
#endif

static const lr_tier *if_named(const lr_tier *tier, const char *name) {
    return name == NULL || strcmp(name, tier->name) == 0 ? tier : NULL;
}

const lr_tier *lr_tier_choose(const char *name) {
    const lr_tier *tier = NULL;
#ifdef LR_X86
    if (__builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bw")) tier = if_named(&avx512, name);
    if (tier == NULL && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")) tier = if_named(&avx2, name);
#endif
#ifdef LR_NEON
    tier = if_named(&neon, name);
#endif
    return tier != NULL ? tier : &scalar;
}
