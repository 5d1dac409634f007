#include "lr_name_private.h"

static uint32_t read32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t read64(const uint8_t *p) {
    return (uint64_t)read32(p) | (uint64_t)read32(p + 4) << 32;
}

bool lr_name_utf8(const uint8_t *p, uint64_t n) {
    for (uint64_t i = 0; i < n;) {
        uint8_t lead = p[i];
        if (lead < 0x80) {
            i++;
            continue;
        }
        uint64_t tail = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || tail > n - i - 1) return false;
        uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (p[i + 1] < low || p[i + 1] > high) return false; /* overlong, surrogate, above U+10FFFF */
        for (uint64_t k = 2; k <= tail; k++)
            if ((p[i + k] & 0xC0) != 0x80) return false;
        i += tail + 1;
    }
    return true;
}

static uint64_t rotate(uint64_t x, int bits) {
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4]) {
    v[0] += v[1]; v[1] = rotate(v[1], 13); v[1] ^= v[0]; v[0] = rotate(v[0], 32);
    v[2] += v[3]; v[3] = rotate(v[3], 16); v[3] ^= v[2];
    v[0] += v[3]; v[3] = rotate(v[3], 21); v[3] ^= v[0];
    v[2] += v[1]; v[1] = rotate(v[1], 17); v[1] ^= v[2]; v[2] = rotate(v[2], 32);
}

/* SipHash-1-3: a file that was made to collide would turn the search for duplicates quadratic. */
uint64_t lr_name_hash(uint64_t seed, const uint8_t *p, uint64_t n) {
    uint64_t other = seed ^ 0x9E3779B97F4A7C15u;
    uint64_t v[4] = {seed ^ 0x736F6D6570736575u, other ^ 0x646F72616E646F6Du, seed ^ 0x6C7967656E657261u,
                     other ^ 0x7465646279746573u};
    uint64_t last = n << 56;
    uint64_t whole = n & ~(uint64_t)7;
    for (uint64_t i = 0; i < whole; i += 8) {
        uint64_t word = read64(p + i);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (uint64_t i = whole; i < n; i++) last |= (uint64_t)p[i] << 8 * (i & 7);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
