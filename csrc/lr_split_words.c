/* The patterns that cut words, after the regular expressions that stand above them. */
#include "lr_split_private.h"

/* Bytes of 's 't 're 've 'm 'll 'd at p, else 0. With `fold` case does not matter; U+017F folds to s, which
 * llama.cpp does not know. */
static size_t contraction(const lr_split *split, const uint8_t *text, size_t p, size_t end, int fold) {
    if (text[p] != '\'' || end - p < 2) return 0;
    const uint8_t low = fold ? 0x20 : 0;
    const uint8_t a = text[p + 1] | low;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (end - p < 3) return 0;
    if (fold && !split->llama && text[p + 1] == 0xC5 && text[p + 2] == 0xBF) return 3;
    const uint8_t b = text[p + 2] | low;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+ on the run [p, e): all of it at the end of the text, else all but its last character, if that
 * leaves one. */
static size_t blank(const uint8_t *text, size_t p, size_t e, size_t end) {
    if (e == end) return e;
    size_t last = e - 1;
    while ((text[last] & 0xC0) == 0x80) last--;
    return last > p ? last : e;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t blank_or_lines(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    size_t e = p, after_newline = p;
    for (unsigned flags; e < end && ((flags = lr_flags_at(split, text + e)) & LR_IS_SPACE); ) {
        e += lr_utf8_length(text[e]);
        if (flags & LR_IS_NEWLINE) after_newline = e;
    }
    return after_newline > p ? after_newline : blank(text, p, e, end);
}

static size_t newlines(const uint8_t *text, size_t p, size_t end, int slash) {
    while (p < end && (text[p] == '\r' || text[p] == '\n' || (slash && text[p] == '/'))) p++;
    return p;
}

/* \p{N}{1,digits} */
static size_t number(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    for (int i = 0; i < split->digits && p < end && (lr_flags_at(split, text + p) & LR_IS_NUMBER); i++)
        p += lr_utf8_length(text[p]);
    return p;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t lr_match_gpt2(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    const size_t short_form = contraction(split, text, p, end, 0);
    if (short_form) return p + short_form;
    const size_t q = p + (text[p] == ' ');
    const unsigned flags = q < end ? lr_flags_at(split, text + q) : LR_IS_SPACE;
    if (flags & LR_IS_LETTER) return lr_run(split, text, q, end, LR_IS_LETTER, 0);
    if (flags & LR_IS_NUMBER) return lr_run(split, text, q, end, LR_IS_NUMBER, 0);
    if (!(flags & LR_IS_SPACE)) return lr_run(split, text, q, end, LR_IS_LETTER | LR_IS_NUMBER | LR_IS_SPACE, 1);
    return blank(text, p, lr_run(split, text, p, end, LR_IS_SPACE, 0), end);
}

/* What follows the words in the patterns since GPT-4: numbers, then ` ?[^\s\p{L}\p{N}]+[\r\n]*`, then blanks. */
static size_t number_punct_blank(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    const unsigned flags = lr_flags_at(split, text + p);
    if (flags & LR_IS_NUMBER) return number(split, text, p, end);
    const size_t q = p + (text[p] == ' ');
    const unsigned all = LR_IS_LETTER | LR_IS_NUMBER | LR_IS_SPACE;
    const size_t e = lr_run(split, text, q, end, all, 1);
    if (e > q) return newlines(text, e, end, split->slash);
    return blank_or_lines(split, text, p, end);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
size_t lr_match_llama3(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    const size_t short_form = contraction(split, text, p, end, 1);
    if (short_form) return p + short_form;
    const unsigned flags = lr_flags_at(split, text + p);
    size_t q = p;
    if (!(flags & (LR_IS_LETTER | LR_IS_NUMBER | LR_IS_NEWLINE))) q += lr_utf8_length(text[p]);
    const size_t e = lr_run(split, text, q, end, LR_IS_LETTER, 0);
    return e > q ? e : number_punct_blank(split, text, p, end);
}

/* [Upper]*[Lower]+ from p on, or p. A character can be both (without case, a mark): then the greedy first part
 * gives back as little as lets the second part match. *upper_end: where [Upper]* alone ends. */
static size_t upper_lower(const lr_split *split, const uint8_t *text, size_t p, size_t end, size_t *upper_end) {
    size_t q = p, both_end = p;
    unsigned flags = 0;
    while (q < end && ((flags = lr_flags_at(split, text + q)) & LR_IS_UPPER)) {
        q += lr_utf8_length(text[q]);
        if (flags & LR_IS_LOWER) both_end = q;
    }
    *upper_end = q;
    if (q < end && (flags & LR_IS_LOWER)) return lr_run(split, text, q, end, LR_IS_LOWER, 0);
    return both_end;
}

/* [^\r\n\p{L}\p{N}]?[Upper]*[Lower]+(contraction)?|[^\r\n\p{L}\p{N}]?[Upper]+[Lower]*(contraction)?|... */
size_t lr_match_cased(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    const unsigned flags = lr_flags_at(split, text + p);
    const int may_lead = !(flags & (LR_IS_LETTER | LR_IS_NUMBER | LR_IS_NEWLINE));
    const size_t lead = p + lr_utf8_length(text[p]);
    size_t upper_lead = lead, upper = p, e = p;
    if (may_lead) {
        e = upper_lower(split, text, lead, end, &upper_lead);
        if (e == lead) e = p;
    }
    if (e == p && (!may_lead || (flags & LR_IS_UPPER))) e = upper_lower(split, text, p, end, &upper);
    if (e == p && may_lead && upper_lead > lead) e = upper_lead;
    if (e == p) e = upper;
    if (e == p) return number_punct_blank(split, text, p, end);
    return split->contractions && e < end ? e + contraction(split, text, e, end, 1) : e;
}

static int ascii_letter(uint8_t c) {
    return (uint8_t)((c | 0x20) - 'a') < 26;
}

/* [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * Numbers never reach it. */
size_t lr_match_deepseek3(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    const unsigned flags = lr_flags_at(split, text + p);
    if ((flags & LR_IS_PUNCT) && text[p] < 0x80 && p + 1 < end && ascii_letter(text[p + 1])) {
        size_t e = p + 2;
        while (e < end && ascii_letter(text[e])) e++;
        return e;
    }
    const unsigned word = LR_IS_LETTER | LR_IS_MARK;
    if (flags & word) return lr_run(split, text, p, end, word, 0);
    if (!(flags & (LR_IS_PUNCT | LR_IS_NEWLINE))) {
        const size_t q = p + lr_utf8_length(text[p]);
        const size_t e = lr_run(split, text, q, end, word, 0);
        if (e > q) return e;
    }
    const size_t q = p + (text[p] == ' ');
    const size_t e = lr_run(split, text, q, end, LR_IS_PUNCT, 0);
    if (e > q) return newlines(text, e, end, 0);
    return flags & LR_IS_SPACE ? blank_or_lines(split, text, p, end) : p;
}
