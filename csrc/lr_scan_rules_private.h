/* Where pieces start, for the patterns that stand in lr_split_words.c, as logic on masks. Inline, so that each kind of
 * CPU compiles them with its own instructions. Marks below: a run is a stretch of characters of one class, `x << 1` is
 * "behind an x", `x >> 1` is "before an x". */
#ifndef LR_SCAN_RULES_PRIVATE_H
#define LR_SCAN_RULES_PRIVATE_H

#include "lr_scan_private.h"

/* The bits below n. */
static inline uint64_t below(size_t n) {
    return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

static inline unsigned first_bit(uint64_t x) {
    return (unsigned)__builtin_ctzll(x);
}

/* The bits of `run` from each bit of `from` on, which begins a run or stands in it, to its end. */
static inline uint64_t flood(uint64_t from, uint64_t run) {
    const uint64_t ends = (run + from) & ~run;
    return (ends - from) & run;
}

/* The same where `from` may have several bits in one run. */
static inline uint64_t flood_many(uint64_t from, uint64_t run) {
    for (unsigned step = 1; step < 64; step *= 2) {
        from |= run & (from << step);
        run &= run << step;
    }
    return from;
}

/* Of each run in x the first bit, and the last. */
static inline uint64_t begins(uint64_t x) { return x & ~(x << 1); }
static inline uint64_t lasts(uint64_t x) { return x & ~(x >> 1); }

static inline void cut(lr_masks *m, unsigned n) {
    const uint64_t keep = below(n);
    m->letter &= keep, m->number &= keep, m->space &= keep, m->newline &= keep, m->upper &= keep, m->lower &= keep;
    m->mark &= keep, m->punct &= keep, m->blank &= keep, m->quote &= keep, m->slash &= keep, m->wide &= keep;
    m->n = n;
}

/* Cuts the window before the first of these; 0 when nothing is left. */
static inline int cut_before(lr_masks *m, uint64_t bad) {
    if (bad) cut(m, first_bit(bad));
    return m->n != 0;
}

/* The start of the run that ends the window; `same` has 1 where a character is of the class of its left neighbour. */
static inline unsigned last_run(uint64_t same, unsigned n) {
    const uint64_t changes = ~same & below(n);
    return 63u - (unsigned)__builtin_clzll(changes | 1);
}

static inline uint64_t joined(uint64_t x) { return x & (x << 1); }

/* Of these quotes those that begin a contraction of one letter, and of two. */
typedef struct lr_shorts { uint64_t one, two; } lr_shorts;

static inline lr_shorts contractions(const lr_masks *m, uint64_t quotes) {
    const uint64_t two = (m->short_rv >> 1 & m->short_e >> 2) | (m->short_l >> 1 & m->short_l >> 2);
    return (lr_shorts){quotes & m->short_one >> 1, quotes & two};
}

/* A limit before the first of these quotes that stands so near the end that what it begins cannot be seen. */
static inline void keep_clear(const lr_masks *m, uint64_t quotes, unsigned before, unsigned *limit) {
    const uint64_t near = quotes & ~below(m->n < 2 ? 0 : m->n - 2);
    if (near && *limit > first_bit(near) - before) *limit = first_bit(near) - before;
}

/* The starts inside runs of numbers that are cut after each third. */
static inline uint64_t thirds(uint64_t number) {
    const uint64_t fourth = number & number << 1 & number << 2 & number << 3;
    uint64_t more = begins(number) << 3 & fourth, starts = 0;
    for (; more; more = more << 3 & fourth) starts |= more;
    return starts;
}

/* What a rule needs to know of blanks: \s*[\r\n]+|\s+(?!\S)|\s+ on what punctuation left of them. */
typedef struct lr_blanks { uint64_t taken, starts, leads; int clear; } lr_blanks;

/* `isolated`: what ends the text for the blanks before it. */
static inline lr_blanks blanks(const lr_masks *m, uint64_t punct, uint64_t isolated, uint64_t also_taken) {
    lr_blanks b;
    const uint64_t first = m->newline & (punct << 1);
    b.taken = first & (also_taken << 1) ? flood_many(first, m->newline | also_taken) : flood(first, m->newline | also_taken);
    const uint64_t space = m->space & ~b.taken, soft = space & ~m->newline;
    /* Blanks behind a newline are a piece of their own, unless another newline follows in the same run. */
    const uint64_t behind = soft & ((space & m->newline) << 1);
    b.clear = (((soft + behind) & ~soft) & m->newline & -(uint64_t)(behind != 0)) == 0;
    b.leads = lasts(space) & soft & ~(isolated >> 1);
    b.starts = begins(space) | b.leads | behind;
    return b;
}

static inline uint64_t rule_gpt2(const lr_split *split, lr_masks *m, unsigned *limit) {
    const uint64_t digit = split->digits ? m->number : 0, number = m->number & ~digit;
    const uint64_t punct = below(m->n) & ~(m->letter | m->number | m->space), led = m->blank << 1;
    *limit = last_run(joined(m->letter) | joined(m->number) | joined(m->space) | joined(punct), m->n);
    uint64_t starts = (begins(m->letter) | begins(number) | begins(punct)) & ~led;
    /* Blanks before a digit that stands apart end with their segment: they stay together. */
    starts |= begins(m->space) | (lasts(m->space) & ~(digit >> 1)) | digit;
    const uint64_t quotes = m->quote & begins(punct) & ~led & (m->letter >> 1);
    const lr_shorts s = contractions(m, quotes);
    keep_clear(m, quotes, 0, limit);
    starts &= ~((s.one | s.two) << 1);
    return starts | ((s.one << 2 | s.two << 3) & m->letter) | 1;
}

static inline uint64_t rule_llama3(const lr_split *split, lr_masks *m, unsigned *limit) {
    const uint64_t punct = below(m->n) & ~(m->letter | m->number | m->space);
    *limit = last_run(joined(m->letter) | joined(m->number) | joined(m->space) | joined(punct), m->n);
    const lr_blanks b = blanks(m, punct, 0, 0);
    if (!b.clear) return 0;
    /* One sign of punctuation, if no blank leads it, leads the letters behind it; a blank always does. */
    const uint64_t signs = begins(punct) & ~(m->blank << 1), leads = signs & (m->letter >> 1);
    uint64_t starts = (begins(m->letter) & ~((leads | (m->space & ~m->newline)) << 1)) | signs | b.starts;
    starts |= split->digits == 1 ? m->number : begins(m->number) | thirds(m->number);
    const lr_shorts s = contractions(m, m->quote & leads);
    keep_clear(m, m->quote & leads, 0, limit);
    return starts | ((s.one << 2 | s.two << 3) & m->letter) | 1;
}

static inline uint64_t rule_cased(const lr_split *split, lr_masks *m, unsigned *limit) {
    const uint64_t both = m->upper & m->lower, capital = m->upper & ~m->lower;
    /* A character of either case before a capital may end a word or not, as what follows has it. A mark that begins a
     * window, or stands behind anything but a word or a blank, may lead a word or be punctuation. */
    const uint64_t word0 = m->upper | m->lower;
    const uint64_t bad = (both & (capital >> 1)) | (m->mark & ~((word0 | (m->space & ~m->newline)) << 1));
    if (!cut_before(m, bad)) return 0;
    const uint64_t word = m->upper | m->lower, all = below(m->n), sign = all & ~(word | m->number | m->space);
    *limit = last_run(joined(word) | joined(m->number) | joined(m->space) | joined(sign), m->n);
    const lr_blanks b = blanks(m, sign, 0, m->slash);
    if (!b.clear) return 0;
    const uint64_t punct = sign & ~b.taken;
    const uint64_t signs = begins(punct) & ~(m->blank << 1), leads = signs & (word >> 1);
    uint64_t starts = (begins(word) & ~((leads | (m->space & ~m->newline)) << 1)) | signs | b.starts;
    starts |= m->upper & ~m->lower & (m->lower << 1);
    starts |= split->digits == 1 ? m->number : begins(m->number) | thirds(m->number);
    if (!split->contractions) return starts | 1;
    const uint64_t quotes = m->quote & (word << 1);
    const lr_shorts s = contractions(m, quotes);
    const uint64_t behind = s.one << 2 | s.two << 3;
    if ((s.one | s.two) & behind) return 0; /* what stands behind a contraction is no second one: one by one */
    keep_clear(m, quotes, 1, limit);
    starts &= ~(s.one | s.one << 1 | s.two | s.two << 1 | s.two << 2);
    return starts | (behind & word) | 1;
}

static inline uint64_t rule_deepseek3(const lr_split *split, lr_masks *m, unsigned *limit) {
    (void)split;
    /* Characters that nothing matches join into gaps: rare enough to be left alone. Ideographs are `upper` here. */
    const uint64_t known = m->letter | m->mark | m->number | m->space | m->punct | m->upper;
    if (!cut_before(m, below(m->n) & ~known)) return 0;
    const uint64_t cjk = m->upper, word = (m->letter | m->mark) & ~cjk, punct = m->punct & ~cjk;
    *limit = last_run(joined(word) | joined(cjk) | joined(m->number) | joined(m->space) | joined(punct), m->n);
    const lr_blanks b = blanks(m, punct, m->number | cjk, 0);
    if (!b.clear) return 0;
    const uint64_t ascii = word & ~m->wide;
    const uint64_t signs = begins(punct) & ~(m->blank << 1), leads = signs & ~m->wide & (ascii >> 1);
    uint64_t starts = (begins(word) & ~((leads | (m->space & ~m->newline)) << 1)) | signs | b.starts;
    starts |= begins(cjk) | begins(m->number) | thirds(m->number);
    /* Behind such a sign only ASCII letters belong to the piece. */
    starts |= (((leads << 1) + ascii) & ~ascii) & word & ~begins(word);
    return starts | 1;
}

#endif
