/* page: the page for people, as bytes in the binary: engine/http/page.html, which the Makefile
 * turns into C.
 *
 * Uses     buf, openssl's SHA-256.
 * Promise  the page is one file that asks for nothing elsewhere. The policy lets a browser run that
 *          file's own <script> and <style>, nothing else: no attribute style="" or onclick="", and
 *          no request but to where the page is from.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct buf;

extern const unsigned char page_html[];
extern const size_t page_html_size;

/* Adds the value of the header Content-Security-Policy for a page: the hashes of each <script> and
 * <style> in it (tags without attributes), and what it may ask for. */
void page_policy(const char *html, size_t len, struct buf *out);
