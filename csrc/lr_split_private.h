/* lr_split_private: a compiled pattern and where it stands in a text. */
#ifndef LR_SPLIT_PRIVATE_H
#define LR_SPLIT_PRIVATE_H

#include "lr_split.h"
#include "lr_unicode_private.h"

#include <string.h>

enum { LR_SPLIT_LEVELS = 6 };

/* What a character is to the patterns. */
enum {
    LR_IS_LETTER = 1,
    LR_IS_NUMBER = 2,
    LR_IS_SPACE = 4, /* newlines too */
    LR_IS_NEWLINE = 8,
    LR_IS_UPPER = 16, /* may stand in the first part of a cased word */
    LR_IS_LOWER = 32, /* may stand in the second */
    LR_IS_MARK = 64,
    LR_IS_PUNCT = 128,
    LR_IS_CJK = LR_IS_UPPER /* DeepSeek-V3, which knows no case */
};

/* What lr_scan asks of single characters beside it. */
enum {
    LR_FORM_ONE = 1, /* ends a contraction behind its quote: s t m d, \u017F too where that folds to s */
    LR_FORM_RV = 2,  /* begins one of two letters: r v */
    LR_FORM_E = 4,   /* ends it: 're 've */
    LR_FORM_L = 8,   /* 'll */
    LR_FORM_BLANK = 16,
    LR_FORM_QUOTE = 32,
    LR_FORM_SLASH = 64,
    LR_FORM_WIDE = 128 /* not ASCII */
};

/* Which logic lr_scan has for the pattern. */
enum { LR_SCAN_NONE, LR_SCAN_GPT2, LR_SCAN_LLAMA3, LR_SCAN_CASED, LR_SCAN_DEEPSEEK3 };

enum { LR_MIXED = 0x80 };

typedef struct lr_split lr_split;

/* The end of the match that begins at p, or p where none does. p < end; end stands for the end of the text. */
typedef size_t (*lr_match)(const lr_split *split, const uint8_t *text, size_t p, size_t end);

struct lr_split {
    uint8_t ascii[128];             /* LR_IS_ flags by character */
    uint8_t forms[128];             /* LR_FORM_ flags by character */
    uint8_t wide[LR_CLASS_BYTES];   /* LR_IS_ flags by class byte */
    uint8_t leads[64];              /* by first byte - 0xC0: the class of all that begin so, or LR_MIXED */
    uint8_t long_s;                 /* LR_FORM_ flags of U+017F */
    lr_match levels[LR_SPLIT_LEVELS];
    int count;                      /* levels in use */
    int rule;                       /* LR_SCAN_ */
    int pre;
    int digits;                     /* the longest number */
    uint8_t llama;                  /* llama.cpp's reading */
    uint8_t slash;                  /* a slash may follow punctuation's newlines */
    uint8_t contractions;           /* behind a cased word */
};

/* Each level cuts what the level above left in one piece, as a row of "Isolated" splits does. */
typedef struct lr_split_state {
    size_t end[LR_SPLIT_LEVELS + 1]; /* of the piece at hand, by level; [0] is the text's end */
    size_t match[LR_SPLIT_LEVELS];   /* the next match of each level, found while its gap was measured */
    size_t match_end[LR_SPLIT_LEVELS];
} lr_split_state;

/* LR_E_ARGUMENT for an unknown pre or rules. */
lr_status lr_split_compile(lr_split *split, int pre, int rules);

void lr_split_begin(lr_split_state *state, size_t size);

/* The end of the piece that begins at p < size. p is a piece's start: 0, or an end answered before; a fresh state
 * may begin at any of them. */
size_t lr_split_next(const lr_split *split, lr_split_state *state, const uint8_t *text, size_t p);

static inline unsigned lr_flags_at(const lr_split *split, const uint8_t *p) {
    return p[0] < 0x80 ? split->ascii[p[0]] : split->wide[lr_unicode_of(lr_utf8_at(p))];
}

/* The end of the run of characters from p on that have one of `flags`, or that have none when `without`. */
static inline size_t lr_run(const lr_split *split, const uint8_t *text, size_t p, size_t end, unsigned flags,
                            int without) {
    /* Lines of dashes, asterisks, blanks: eight at once, as long as they are one and the same. */
    if (p < end && text[p] < 0x80 && ((split->ascii[text[p]] & flags) != 0) != (without != 0)) {
        const uint64_t same = 0x0101010101010101u * text[p];
        for (uint64_t next; end - p >= 8 && (memcpy(&next, text + p, 8), next == same); ) p += 8;
    }
    while (p < end && ((lr_flags_at(split, text + p) & flags) != 0) != (without != 0)) p += lr_utf8_length(text[p]);
    return p;
}

size_t lr_match_gpt2(const lr_split *split, const uint8_t *text, size_t p, size_t end);
size_t lr_match_llama3(const lr_split *split, const uint8_t *text, size_t p, size_t end);
size_t lr_match_cased(const lr_split *split, const uint8_t *text, size_t p, size_t end);
size_t lr_match_deepseek3(const lr_split *split, const uint8_t *text, size_t p, size_t end);

#endif
