/* Windows with AVX-512: 64 characters of ASCII at once, and of other text the 64 bytes, of which all but each
 * character's first are squeezed out of the masks. */
#include "lr_scan_rules_private.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi,bmi2,lzcnt,popcnt")))
#define INLINE static inline __attribute__((always_inline))

AVX512 INLINE void to_masks(__m512i flags, __m512i forms, lr_masks *m) {
#define BIT(of, k) _mm512_movepi8_mask(_mm512_slli_epi16(of, 7 - (k)))
    m->letter = BIT(flags, 0), m->number = BIT(flags, 1), m->space = BIT(flags, 2), m->newline = BIT(flags, 3);
    m->upper = BIT(flags, 4), m->lower = BIT(flags, 5), m->mark = BIT(flags, 6), m->punct = BIT(flags, 7);
    m->short_one = BIT(forms, 0), m->short_rv = BIT(forms, 1), m->short_e = BIT(forms, 2), m->short_l = BIT(forms, 3);
    m->blank = BIT(forms, 4), m->quote = BIT(forms, 5), m->slash = BIT(forms, 6), m->wide = BIT(forms, 7);
#undef BIT
}

/* Leaves of each mask the bits where characters begin. */
AVX512 INLINE void squeeze(lr_masks *m, uint64_t first) {
    uint64_t *all[] = {&m->letter, &m->number, &m->space, &m->newline, &m->upper, &m->lower, &m->mark, &m->punct,
                       &m->short_one, &m->short_rv, &m->short_e, &m->short_l, &m->blank, &m->quote, &m->slash,
                       &m->wide};
#pragma GCC unroll 16
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) *all[i] = _pext_u64(*all[i], first);
}

AVX512 INLINE __m512i behind(const uint8_t *text, size_t left, unsigned k) {
    return _mm512_maskz_loadu_epi8(below(left > k ? left - k : 0), text + k);
}

AVX512 INLINE __m512i look_up(const uint8_t *table, __m512i at) {
    return _mm512_permutex2var_epi8(_mm512_loadu_si512(table), at, _mm512_loadu_si512(table + 64));
}

/* The bytes of a window, and those one and two places on. */
typedef struct lr_bytes { __m512i first, second, third; } lr_bytes;

/* Fills in the classes of the characters, among those at the bits of `todo`, that are of one page of the tables with the
 * first one. Returns which. */
AVX512 INLINE uint64_t fill_page(const uint8_t *text, size_t left, const lr_bytes *bytes, uint64_t todo,
                                 __m512i *found) {
    const uint8_t *p = text + first_bit(todo);
    uint64_t same = _mm512_mask_cmpeq_epi8_mask(todo, bytes->first, _mm512_set1_epi8((char)p[0]));
    size_t page;
    __m512i at = bytes->second;
    if (p[0] < 0xE0) {
        page = lr_unicode_bmp[p[0] & 0x1F];
    } else if (p[0] < 0xF0) {
        const uint8_t *pages = lr_unicode_bmp + ((size_t)(p[0] & 0x0F) << 6);
        page = pages[p[1] & 0x3F];
        const __m512i theirs = _mm512_permutexvar_epi8(bytes->second, _mm512_loadu_si512(pages));
        same = _mm512_mask_cmpeq_epi8_mask(same, theirs, _mm512_set1_epi8((char)page));
        at = bytes->third;
    } else {
        page = lr_unicode_first[lr_utf8_at(p) >> 6];
        same = _mm512_mask_cmpeq_epi8_mask(same, bytes->second, _mm512_set1_epi8((char)p[1]));
        same = _mm512_mask_cmpeq_epi8_mask(same, bytes->third, _mm512_set1_epi8((char)p[2]));
        at = behind(text, left, 3);
    }
    *found = _mm512_mask_permutexvar_epi8(*found, same, at, _mm512_loadu_si512(lr_unicode_second + (page << 6)));
    return same;
}

/* The class bytes of the characters that begin at the bits of `lead`, at these bits. A window of one script needs few
 * pages. */
AVX512 INLINE __m512i classes(const lr_split *split, const uint8_t *text, size_t left, const lr_bytes *bytes,
                              uint64_t lead) {
    __m512i found = _mm512_permutexvar_epi8(bytes->first, _mm512_loadu_si512(split->leads));
    for (uint64_t todo = lead & _mm512_movepi8_mask(found); todo; )
        todo &= ~fill_page(text, left, bytes, todo, &found);
    return found;
}

AVX512 INLINE __m512i numbers_of(__m512i bytes, unsigned from) {
    return _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm512_castsi512_si128(bytes)), _mm512_set1_epi32((int)from));
}

/* Writes the places of the bits, plus `from`. */
AVX512 INLINE unsigned places(uint64_t bits, uint32_t from, uint32_t *out) {
    static const uint8_t numbers[64] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
        44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    const __m512i all = _mm512_maskz_compress_epi8(bits, _mm512_loadu_si512(numbers));
    _mm512_storeu_si512(out, numbers_of(all, from));
    _mm512_storeu_si512(out + 16, numbers_of(_mm512_shuffle_i64x2(all, all, 1), from));
    const unsigned count = (unsigned)__builtin_popcountll(bits);
    if (count <= 32) return count;
    _mm512_storeu_si512(out + 32, numbers_of(_mm512_shuffle_i64x2(all, all, 2), from));
    _mm512_storeu_si512(out + 48, numbers_of(_mm512_shuffle_i64x2(all, all, 3), from));
    return count;
}

typedef uint64_t (*lr_rule)(const lr_split *split, lr_masks *masks, unsigned *limit);

/* The ends of pieces in the window at text. */
AVX512 INLINE uint64_t window_by(lr_rule rule, const lr_split *split, const uint8_t *text, size_t left) {
    uint64_t first = below(left);
    const __m512i c = _mm512_maskz_loadu_epi8(first, text);
    const uint64_t wide = _mm512_movepi8_mask(c);
    __m512i flags = look_up(split->ascii, c), forms = look_up(split->forms, c);
    lr_masks m;
    m.n = left < LR_WINDOW ? (unsigned)left : LR_WINDOW;
    unsigned limit = 0;
    if (wide == 0) {
        to_masks(flags, forms, &m);
        const uint64_t starts = rule(split, &m, &limit);
        return starts & (((uint64_t)2 << limit) - 2);
    }
    const lr_bytes bytes = {c, behind(text, left, 1), behind(text, left, 2)};
    first &= ~_mm512_cmplt_epi8_mask(c, _mm512_set1_epi8(-64));
    const uint64_t lead = wide & first;
    const uint64_t long_s = _mm512_mask_cmpeq_epi8_mask(lead, c, _mm512_set1_epi8((char)0xC5)) &
                            _mm512_cmpeq_epi8_mask(bytes.second, _mm512_set1_epi8((char)0xBF));
    flags = _mm512_mask_mov_epi8(flags, lead, look_up(split->wide, classes(split, text, left, &bytes, lead)));
    forms = _mm512_mask_mov_epi8(forms, wide, _mm512_set1_epi8((char)LR_FORM_WIDE));
    forms = _mm512_mask_mov_epi8(forms, long_s, _mm512_set1_epi8((char)split->long_s));
    to_masks(flags, forms, &m);
    squeeze(&m, first);
    m.n = (unsigned)__builtin_popcountll(first);
    const uint64_t starts = rule(split, &m, &limit);
    return _pdep_u64(starts & (((uint64_t)2 << limit) - 2), first);
}

AVX512 INLINE unsigned scan_by(lr_rule rule, const lr_split *split, const uint8_t *text, size_t base, size_t *at,
                               size_t end, uint32_t *ends, unsigned room) {
    size_t p = *at;
    unsigned count = 0;
    while (p < end && room - count >= LR_WINDOW) {
        const uint64_t found = window_by(rule, split, text + p, end - p);
        if (found == 0) break;
        count += places(found, (uint32_t)(p - base), ends + count);
        /* Not out of `ends`: the next window must not wait until they are written. */
        p += 63u - (unsigned)_lzcnt_u64(found);
    }
    *at = p;
    return count;
}

AVX512 static unsigned scan(const lr_split *split, const uint8_t *text, size_t base, size_t *p, size_t end,
                            uint32_t *ends, unsigned room) {
    switch (split->rule) {
    case LR_SCAN_GPT2: return scan_by(rule_gpt2, split, text, base, p, end, ends, room);
    case LR_SCAN_LLAMA3: return scan_by(rule_llama3, split, text, base, p, end, ends, room);
    case LR_SCAN_CASED: return scan_by(rule_cased, split, text, base, p, end, ends, room);
    default: return scan_by(rule_deepseek3, split, text, base, p, end, ends, room);
    }
}

static const lr_tier avx512 = {"avx512", scan, lr_look_key_avx512, lr_look_put_avx512};

const lr_tier *lr_tier_avx512(void) {
    return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2") &&
                   __builtin_cpu_supports("lzcnt")
               ? &avx512 : NULL;
}

#else
const lr_tier *lr_tier_avx512(void) { return NULL; }
#endif
