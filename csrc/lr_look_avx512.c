#include "lr_look_private.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi,bmi2")))
#define INLINE static inline __attribute__((always_inline))

/* What a text of n bytes keeps of 16, and what its length adds; of a longer one all that no key is. */
typedef struct lr_row { uint8_t keep[16], add[16]; } lr_row;
#define KEEP(n, i) ((n) > (i) && (i) < 15 && (n) < 16 ? 255 : 0)
#define ROW(n) {{KEEP(n, 0), KEEP(n, 1), KEEP(n, 2), KEEP(n, 3), KEEP(n, 4), KEEP(n, 5), KEEP(n, 6), KEEP(n, 7), \
                 KEEP(n, 8), KEEP(n, 9), KEEP(n, 10), KEEP(n, 11), KEEP(n, 12), KEEP(n, 13), KEEP(n, 14)}, \
                {[15] = (n) < 16 ? (n) : 255}}
static const lr_row rows[LR_WORD_SHORT + 2] = {ROW(0),  ROW(1),  ROW(2),  ROW(3),  ROW(4),  ROW(5),
                                               ROW(6),  ROW(7),  ROW(8),  ROW(9),  ROW(10), ROW(11),
                                               ROW(12), ROW(13), ROW(14), ROW(15), ROW(16)};

/* lr_key_hash of 8 keys: the first, fifth, second, sixth and so on. */
AVX512 INLINE __m512i hashes(const uint64_t (*keys)[2]) {
    const __m512i some = _mm512_loadu_si512(keys), more = _mm512_loadu_si512(keys + 4);
    const __m512i order = _mm512_broadcast_i32x4(_mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    const __m512i a = _mm512_unpacklo_epi64(some, more), b = _mm512_unpackhi_epi64(some, more);
    const __m512i once = _mm512_mullo_epi64(a, _mm512_set1_epi64((int64_t)0x9E3779B97F4A7C15u));
    const __m512i twice = _mm512_mullo_epi64(_mm512_xor_si512(once, b), _mm512_set1_epi64((int64_t)0xD6E8FEB86659FD93u));
    return _mm512_shuffle_epi8(twice, order);
}

/* Eight pieces; those too long for an entry get no key. Returns which these are. */
AVX512 INLINE unsigned key_eight(const uint8_t *text, const uint32_t *ends, uint64_t (*keys)[2]) {
    const __m256i starts = _mm256_loadu_si256((const __m256i *)ends);
    const __m256i sizes = _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)(ends + 1)), starts);
    const __m256i most = _mm256_set1_epi32(LR_WORD_SHORT + 1);
    uint32_t row[8];
    _mm256_storeu_si256((__m256i *)row, _mm256_slli_epi32(_mm256_min_epu32(sizes, most), 5));
#pragma GCC unroll 8
    for (unsigned i = 0; i < 8; i++) {
        const lr_row *r = (const lr_row *)((const uint8_t *)rows + row[i]);
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(text + ends[i]));
        const __m128i kept = _mm_and_si128(bytes, _mm_loadu_si128((const __m128i *)r->keep));
        _mm_storeu_si128((__m128i *)keys[i], _mm_or_si128(kept, _mm_loadu_si128((const __m128i *)r->add)));
    }
    return _mm256_cmpge_epu32_mask(sizes, most);
}

AVX512 INLINE void send_eight(const lr_words *words, const uint64_t (*keys)[2], uint32_t *places) {
    const __m512i in_order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
    const __m512i found = _mm512_and_si512(hashes(keys), _mm512_set1_epi64((int64_t)words->mask));
    const __m512i bytes = _mm512_slli_epi64(_mm512_permutexvar_epi64(in_order, found), 5);
    _mm256_storeu_si256((__m256i *)places, _mm512_cvtepi64_epi32(bytes));
    const uint8_t *table = (const uint8_t *)words->slots;
#pragma GCC unroll 8
    for (unsigned i = 0; i < 8; i++) __builtin_prefetch(table + places[i]);
}

AVX512 void lr_look_key_avx512(const lr_words *words, const uint8_t *text, size_t readable, const uint32_t *ends,
                               unsigned count, uint64_t (*keys)[2], uint32_t *places) {
    const unsigned whole = readable - ends[count] < 16 ? 0 : count & ~7u;
    for (unsigned i = 0; i < whole; i += 8) {
        for (unsigned lengthy = key_eight(text, ends + i, keys + i); lengthy; lengthy &= lengthy - 1) {
            const unsigned k = i + (unsigned)__builtin_ctz(lengthy);
            const size_t size = ends[k + 1] - ends[k];
            if (size > LR_WORD_LONGEST) continue;
            const lr_key key = lr_key_long(text + ends[k], size);
            keys[k][0] = key.word[0];
            keys[k][1] = key.word[1];
        }
    }
    for (unsigned i = 0; i < whole; i += 8) send_eight(words, (const uint64_t (*)[2])keys + i, places + i);
    if (whole < count)
        lr_look_key_plain(words, text, readable, ends + whole, count - whole, keys + whole, places + whole);
}

/* By which halves of a key equal those of two entries (bits 0 and 1, 4 and 5): how far on the entry is, or NO. */
enum { NO = 0xFF, B = sizeof(lr_word) };
#define FIRST NO, NO, NO, 0
static const uint8_t which[64] = {FIRST, FIRST, FIRST, FIRST, FIRST, FIRST, FIRST, FIRST, FIRST, FIRST, FIRST, FIRST,
                                  B, B, B, B, B, B, B, B, B, B, B, B, B, B, B, B};

AVX512 unsigned lr_look_put_avx512(const lr_words *words, lr_looks *looks) {
    const uint8_t *const table = (const uint8_t *)words->slots;
    const uint64_t (*const keys)[2] = looks->keys;
    const uint32_t *const places = looks->places;
    const unsigned count = looks->count;
    int32_t *out = looks->ids;
    unsigned i = 0;
    for (; i < count; i++) {
        const uint8_t *pair = table + places[i];
        const __m512i key = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)keys[i]));
        const unsigned halves = _mm512_mask_cmpeq_epi64_mask(0x33, key, _mm512_load_si512(pair));
        /* Which of the two it is cannot be foreseen: no branch. */
        const uint8_t at = which[halves];
        if (at == NO) break;
        const lr_word *word = (const lr_word *)(pair + at);
        const uint32_t n = word->n;
        if (n <= LR_WORD_INLINE) {
            _mm_mask_storeu_epi32(out, 7, _mm_load_si128((const __m128i *)word->ids));
            out += n;
        } else {
            looks->ids = out;
            if (!lr_look_far(words, word, i, looks)) return i;
            out = looks->ids;
        }
    }
    looks->ids = out;
    return i;
}

#endif
