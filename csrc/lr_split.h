/* lr_split: cuts text into the pieces that byte-level BPE never merges across, one character at a time.
 *
 * Each of these is a regular expression, or a row of them, that a model was trained with, compiled by hand. This is
 * the exact form: linear in the text and without limits; lr_scan is the fast one for ordinary text.
 * Borrowed: all bytes. Nothing is allocated.
 */
#ifndef LR_SPLIT_H
#define LR_SPLIT_H

#include "lr_status.h"

#include <stddef.h>
#include <stdint.h>

/* The patterns, by the name of the first model that had them. */
typedef enum lr_pre {
    LR_PRE_GPT2,
    LR_PRE_DIGITS, /* GPT-2's with each digit apart: StarCoder, Command-R, SmolLM */
    LR_PRE_LLAMA3,
    LR_PRE_QWEN2,
    LR_PRE_QWEN35,
    LR_PRE_GPT4O,  /* Llama 4 too */
    LR_PRE_TEKKEN,
    LR_PRE_DEEPSEEK3,
    LR_PRE_DEEPSEEK_LLM,
    LR_PRE_DEEPSEEK_CODER,
    LR_PRES
} lr_pre;

/* Whose reading of the patterns: the model's own tokenizer's or llama.cpp's. */
typedef enum lr_rules { LR_RULES_OWN, LR_RULES_LLAMA_CPP } lr_rules;

/* Writes the ends of the pieces of well-formed text to ends[0 .. room-1], *count of them; each piece begins where
 * the one before ends. LR_FULL: the room is too small, *count says what is needed. LR_E_ARGUMENT. */
lr_status lr_split_all(int pre, int rules, const uint8_t *text, size_t size, size_t *ends, size_t room,
                       size_t *count);

#endif
