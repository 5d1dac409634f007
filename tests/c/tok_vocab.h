/* A small vocabulary for the tokenizer's C tests: all bytes, and what a row of merges makes of them. Nothing here
 * checks anything. */
#ifndef LR_TOK_VOCAB_H
#define LR_TOK_VOCAB_H

#include "lr_vocab.h"

#include <stdint.h>
#include <string.h>

typedef struct {
    uint8_t tokens[1 << 15], merges[1 << 14], types[1024];
    float scores[1024];
    lr_vocab_source source;
} tok_vocab;

static inline void tok_put(uint8_t *to, uint64_t *size, const void *bytes, uint64_t n) {
    for (int i = 0; i < 8; i++) to[(*size)++] = (uint8_t)(n >> 8 * i);
    memcpy(to + *size, bytes, n);
    *size += n;
}

static inline void tok_token(tok_vocab *v, const void *bytes, size_t n, int type) {
    v->types[v->source.count] = (uint8_t)type;
    v->scores[v->source.count] = -(float)v->source.count;
    tok_put(v->tokens, &v->source.tokens_size, bytes, n);
    v->source.count++;
}

static inline void tok_merge(tok_vocab *v, const char *merge) {
    tok_put(v->merges, &v->source.merges_size, merge, strlen(merge));
    v->source.merge_count++;
}

/* 256 bytes, then "th", "the", " t", " th", " the", "in", "ing", "aa", "aaaa", two special tokens. A blank cannot stand in
 * a merge that is not spelled in letters but as its first character. */
static inline void tok_begin(tok_vocab *v, int kind, int pre, int rules) {
    memset(v, 0, sizeof *v);
    v->source.kind = kind;
    v->source.pre = pre;
    v->source.rules = rules;
    for (int i = 0; i < 256; i++) {
        const uint8_t byte = (uint8_t)i;
        tok_token(v, &byte, 1, LR_TOKEN_NORMAL);
    }
    static const char *const words[] = {"th", "the", " t", " th", " the", "in", "ing", "aa", "aaaa"};
    static const char *const merges[] = {"t h", "th e", "  t", " t h", "  the", "i n", "in g", "a a", "aa aa"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        tok_token(v, words[i], strlen(words[i]), LR_TOKEN_NORMAL);
        tok_merge(v, merges[i]);
    }
    tok_token(v, "<|end|>", 7, LR_TOKEN_CONTROL);
    tok_token(v, "<user>", 6, LR_TOKEN_USER_DEFINED);
    v->source.tokens = v->tokens;
    v->source.merges = v->merges;
    v->source.types = v->types;
    v->source.scores = v->scores;
}

#endif
