/* Windows of 64 bytes with AVX-512: each page of the tables that the window's characters are of is looked up once. */
#include "lr_nfc_private.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vbmi,bmi")))
#define INLINE static inline __attribute__((always_inline))

/* What is `by` bytes behind each byte; 0 beyond the text. */
AVX512 INLINE __m512i behind(const uint8_t *text, size_t left, unsigned by) {
    if (left >= 64u + by) return _mm512_loadu_si512(text + by);
    const size_t n = left > by ? left - by : 0;
    return _mm512_maskz_loadu_epi8(n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1, text + by);
}

/* Of the characters `same`, all of the page of that at p, those that are not quiet by their last bytes. */
AVX512 INLINE uint64_t loud_in_page(const uint8_t *p, uint64_t same, __m512i last) {
    const uint8_t *page = lr_nfc_second + ((size_t)lr_nfc_first[lr_utf8_at(p) >> 6] << 6);
    const __m512i kinds = _mm512_permutexvar_epi8(last, _mm512_loadu_si512(page));
    return _mm512_mask_test_epi8_mask(same, kinds, _mm512_set1_epi8(LR_NFC_LOUD));
}

AVX512 static uint64_t loud(const uint8_t *text, size_t left) {
    const __m512i first = behind(text, left, 0);
    uint64_t todo = _mm512_cmpge_epu8_mask(first, _mm512_set1_epi8((char)0xC0));
    todo &= _mm512_movepi8_mask(_mm512_permutexvar_epi8(first, _mm512_loadu_si512(lr_nfc_leads)));
    if (todo == 0) return 0;
    const __m512i second = behind(text, left, 1), third = behind(text, left, 2);
    uint64_t found = 0, same;
    for (; todo; todo &= ~same) {
        const uint8_t *p = text + __builtin_ctzll(todo);
        same = _mm512_mask_cmpeq_epi8_mask(todo, first, _mm512_set1_epi8((char)p[0]));
        if (p[0] < 0xE0) {
            found |= loud_in_page(p, same, second);
            continue;
        }
        same = _mm512_mask_cmpeq_epi8_mask(same, second, _mm512_set1_epi8((char)p[1]));
        if (p[0] < 0xF0) {
            found |= loud_in_page(p, same, third);
            continue;
        }
        same = _mm512_mask_cmpeq_epi8_mask(same, third, _mm512_set1_epi8((char)p[2]));
        found |= loud_in_page(p, same, behind(text, left, 3));
    }
    return found;
}

lr_nfc_loud lr_nfc_loud_avx512(void) {
    return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bw") ? loud : NULL;
}

#else
lr_nfc_loud lr_nfc_loud_avx512(void) { return NULL; }
#endif
