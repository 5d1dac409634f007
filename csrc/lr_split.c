#include "lr_split_private.h"

#include <string.h>

/* \p{N}{1,3} or \p{N}+ */
static size_t match_number(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    for (int i = 0; i < split->digits && p < end && (lr_flags_at(split, text + p) & LR_IS_NUMBER); i++)
        p += lr_utf8_length(text[p]);
    return p;
}

/* [\r\n] */
static size_t match_newline(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    (void)split, (void)end;
    return p + (text[p] == '\r' || text[p] == '\n');
}

static unsigned class_at(const uint8_t *p) {
    return lr_unicode_of(lr_utf8_at(p));
}

/* [一-龥぀-ゟ゠-ヿ]+ */
static size_t match_cjk(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    (void)split;
    while (p < end && text[p] >= 0xE3 && text[p] <= 0xE9 && (class_at(text + p) & LR_CLASS_CJK)) p += 3;
    return p;
}

/* [一-龥ࠀ-一가-퟿]+; llama.cpp sees no wide space in it. */
static size_t match_east(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    while (p < end && text[p] >= 0xE0) {
        const uint32_t cp = lr_utf8_at(text + p);
        if (cp > 0xD7FF || (cp > 0x9FA5 && cp < 0xAC00)) break;
        if (split->llama && (lr_flags_at(split, text + p) & LR_IS_SPACE)) break;
        p += 3;
    }
    return p;
}

/* \s? and then a run of what `in` holds. */
typedef int (*lr_in)(const lr_split *split, const uint8_t *p);

static size_t spaced_run(const lr_split *split, const uint8_t *text, size_t p, size_t end, lr_in in) {
    size_t q = p;
    if (lr_flags_at(split, text + p) & LR_IS_SPACE) q += lr_utf8_length(text[p]);
    if (q == end || !in(split, text + q)) q = p;
    const size_t from = q;
    while (q < end && in(split, text + q)) q += lr_utf8_length(text[q]);
    return q > from ? q : p;
}

static int in_letters(const lr_split *split, const uint8_t *p) {
    return (lr_flags_at(split, p) & LR_IS_LETTER) != 0;
}

static int in_puncts(const lr_split *split, const uint8_t *p) {
    return (lr_flags_at(split, p) & LR_IS_PUNCT) != 0;
}

static int in_cased(const lr_split *split, const uint8_t *p) {
    (void)split;
    return (class_at(p) & LR_CLASS_CASED) != 0;
}

/* [!-/:-~！-／：-～‘-‟　-。] */
static int in_signs(const lr_split *split, const uint8_t *p) {
    const uint32_t cp = lr_utf8_at(p);
    if (cp < 0x80) return cp > ' ' && cp < 0x7F && !(cp >= '0' && cp <= '9');
    if (cp >= 0x2018 && cp <= 0x201F) return 1;
    if (cp >= 0x3000 && cp <= 0x3002) return cp > 0x3000 || !split->llama;
    return cp >= 0xFF01 && cp <= 0xFF5E && !(cp >= 0xFF10 && cp <= 0xFF19);
}

static size_t match_letters(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    return spaced_run(split, text, p, end, in_letters);
}

static size_t match_puncts(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    return spaced_run(split, text, p, end, in_puncts);
}

static size_t match_cased_letters(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    return spaced_run(split, text, p, end, in_cased);
}

static size_t match_signs(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    return spaced_run(split, text, p, end, in_signs);
}

/* \s+$: where the blanks at the end of [p, end) begin. */
static size_t trailing(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    while (end > p) {
        size_t last = end - 1;
        while ((text[last] & 0xC0) == 0x80) last--;
        if (!(lr_flags_at(split, text + last) & LR_IS_SPACE)) break;
        end = last;
    }
    return end;
}

/* Stands for \s+$ in a row of levels: only find() can do it without walking a run of blanks from each of them. */
static size_t match_trailing(const lr_split *split, const uint8_t *text, size_t p, size_t end) {
    return trailing(split, text, p, end) == p ? end : p;
}

/* The first match in [p, end): its start, and its end in *match_end. Both are `end` when there is none. */
static size_t find(const lr_split *split, lr_match match, const uint8_t *text, size_t p, size_t end,
                   size_t *match_end) {
    *match_end = end;
    if (match == match_trailing) return trailing(split, text, p, end);
    for (; p < end; p += lr_utf8_length(text[p])) {
        const size_t e = match(split, text, p, end);
        if (e > p) {
            *match_end = e;
            return p;
        }
    }
    return end;
}

void lr_split_begin(lr_split_state *state, size_t size) {
    memset(state, 0, sizeof *state);
    state->end[0] = size;
}

size_t lr_split_next(const lr_split *split, lr_split_state *state, const uint8_t *text, size_t p) {
    for (int i = 0; i < split->count; i++) {
        if (state->end[i + 1] > p) continue;
        if (state->match_end[i] <= p)
            state->match[i] = find(split, split->levels[i], text, p, state->end[i], &state->match_end[i]);
        state->end[i + 1] = state->match[i] > p ? state->match[i] : state->match_end[i];
    }
    return state->end[split->count];
}

static unsigned flags_of_class(unsigned klass, int pre, int llama) {
    static const uint8_t flags[LR_CLASS_MASK + 1] = {
        [LR_CLASS_NEWLINE] = LR_IS_SPACE | LR_IS_NEWLINE,
        [LR_CLASS_SPACE] = LR_IS_SPACE,
        [LR_CLASS_NUMBER] = LR_IS_NUMBER,
        [LR_CLASS_UPPER] = LR_IS_LETTER | LR_IS_UPPER,
        [LR_CLASS_LOWER] = LR_IS_LETTER | LR_IS_LOWER,
        [LR_CLASS_LETTER] = LR_IS_LETTER | LR_IS_UPPER | LR_IS_LOWER,
        [LR_CLASS_MARK] = LR_IS_MARK | LR_IS_UPPER | LR_IS_LOWER,
        [LR_CLASS_PUNCT] = LR_IS_PUNCT,
        [LR_CLASS_SYMBOL] = LR_IS_PUNCT,
    };
    if (llama && (klass & LR_CLASS_NEW)) return 0;
    const unsigned cjk = klass & LR_CLASS_CJK ? LR_IS_CJK : 0;
    klass &= LR_CLASS_MASK;
    if (pre == LR_PRE_QWEN35 && klass == LR_CLASS_MARK) return LR_IS_LETTER;
    if (pre == LR_PRE_DEEPSEEK3) return (flags[klass] & ~(unsigned)(LR_IS_UPPER | LR_IS_LOWER)) | cjk;
    if (pre == LR_PRE_DEEPSEEK_CODER && klass == LR_CLASS_SYMBOL) return 0;
    return flags[klass];
}

/* llama.cpp's cased patterns know the case of ASCII letters only, and no marks. */
static void forget_case(lr_split *split) {
    for (int i = 0; i < LR_CLASS_BYTES; i++) {
        unsigned flags = split->wide[i] & ~(unsigned)(LR_IS_UPPER | LR_IS_LOWER | LR_IS_MARK);
        if (flags & LR_IS_LETTER) flags |= LR_IS_UPPER | LR_IS_LOWER;
        split->wide[i] = (uint8_t)flags;
    }
}

static void choose_levels(lr_split *split) {
    static const lr_match rows[LR_PRES][LR_SPLIT_LEVELS] = {
        [LR_PRE_GPT2] = {lr_match_gpt2},
        [LR_PRE_DIGITS] = {match_number, lr_match_gpt2},
        [LR_PRE_LLAMA3] = {lr_match_llama3},
        [LR_PRE_QWEN2] = {lr_match_llama3},
        [LR_PRE_QWEN35] = {lr_match_llama3},
        [LR_PRE_GPT4O] = {lr_match_cased},
        [LR_PRE_TEKKEN] = {lr_match_cased},
        [LR_PRE_DEEPSEEK3] = {match_number, match_cjk, lr_match_deepseek3},
        [LR_PRE_DEEPSEEK_LLM] = {match_newline, match_cased_letters, match_signs, match_trailing, match_east,
                                 match_number},
        [LR_PRE_DEEPSEEK_CODER] = {match_newline, match_letters, match_puncts, match_east, match_number},
    };
    memcpy(split->levels, rows[split->pre], sizeof split->levels);
    while (split->count < LR_SPLIT_LEVELS && split->levels[split->count] != NULL) split->count++;
}

static void mark_forms(lr_split *split, int fold) {
    const struct { const char *chars; uint8_t form; } rows[] = {
        {"stmd", LR_FORM_ONE}, {"rv", LR_FORM_RV}, {"e", LR_FORM_E}, {"l", LR_FORM_L},
        {" ", LR_FORM_BLANK}, {"'", LR_FORM_QUOTE}, {"/", LR_FORM_SLASH}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (const char *c = rows[i].chars; *c; c++) {
            split->forms[(uint8_t)*c] |= rows[i].form;
            if (fold && rows[i].form <= LR_FORM_L) split->forms[(uint8_t)*c - 0x20] |= rows[i].form;
        }
    split->long_s = LR_FORM_WIDE | (fold && !split->llama ? LR_FORM_ONE : 0);
}

/* What all characters with one first byte have in common, where it is everything. */
static void mark_leads(lr_split *split) {
    memset(split->leads, LR_MIXED, sizeof split->leads);
    for (size_t lead = 0xE0; lead < 0xF0; lead++) {
        const uint8_t *pages = lr_unicode_bmp + ((lead & 15) << 6), *page = lr_unicode_second + ((size_t)*pages << 6);
        int same = 1;
        for (size_t i = 0; i < 64; i++) same &= pages[i] == pages[0] && page[i] == page[0];
        if (same) split->leads[lead - 0xC0] = page[0];
    }
}

lr_status lr_split_compile(lr_split *split, int pre, int rules) {
    static const uint8_t digits[LR_PRES] = {
        [LR_PRE_DIGITS] = 1, [LR_PRE_LLAMA3] = 3, [LR_PRE_QWEN2] = 1, [LR_PRE_QWEN35] = 1, [LR_PRE_GPT4O] = 3,
        [LR_PRE_TEKKEN] = 1, [LR_PRE_DEEPSEEK3] = 3, [LR_PRE_DEEPSEEK_LLM] = 1, [LR_PRE_DEEPSEEK_CODER] = 1,
    };
    static const uint8_t scans[LR_PRES] = {
        [LR_PRE_GPT2] = LR_SCAN_GPT2, [LR_PRE_DIGITS] = LR_SCAN_GPT2, [LR_PRE_LLAMA3] = LR_SCAN_LLAMA3,
        [LR_PRE_QWEN2] = LR_SCAN_LLAMA3, [LR_PRE_QWEN35] = LR_SCAN_LLAMA3, [LR_PRE_GPT4O] = LR_SCAN_CASED,
        [LR_PRE_TEKKEN] = LR_SCAN_CASED, [LR_PRE_DEEPSEEK3] = LR_SCAN_DEEPSEEK3,
    };
    if (split == NULL || pre < 0 || pre >= LR_PRES || rules < 0 || rules > LR_RULES_LLAMA_CPP)
        return LR_E_ARGUMENT;
    memset(split, 0, sizeof *split);
    split->pre = pre;
    split->llama = rules == LR_RULES_LLAMA_CPP;
    split->digits = digits[pre];
    split->rule = scans[pre];
    if (pre == LR_PRE_DEEPSEEK_LLM && split->llama) split->digits = INT32_MAX;
    split->slash = pre == LR_PRE_GPT4O || pre == LR_PRE_TEKKEN;
    split->contractions = pre == LR_PRE_GPT4O;
    for (unsigned i = 0; i < LR_CLASS_BYTES; i++)
        split->wide[i] = (uint8_t)flags_of_class(i, pre, split->llama);
    for (uint32_t i = 0; i < 128; i++) split->ascii[i] = split->wide[lr_unicode_of(i)];
    if (split->llama && split->slash) forget_case(split);
    choose_levels(split);
    mark_forms(split, split->rule != LR_SCAN_GPT2);
    mark_leads(split);
    return LR_OK;
}

lr_status lr_split_all(int pre, int rules, const uint8_t *text, size_t size, size_t *ends, size_t room,
                       size_t *count) {
    lr_split split;
    lr_split_state state;
    if ((text == NULL && size) || (ends == NULL && room) || count == NULL) return LR_E_ARGUMENT;
    const lr_status status = lr_split_compile(&split, pre, rules);
    if (status != LR_OK) return status;
    lr_split_begin(&state, size);
    *count = 0;
    for (size_t p = 0; p < size; ++*count) {
        p = lr_split_next(&split, &state, text, p);
        if (*count < room) ends[*count] = p;
    }
    return *count > room ? LR_FULL : LR_OK;
}
