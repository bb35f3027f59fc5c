/* page_html.c - the page around its contents: text from files made harmless, numbers, and the style. */
#include "page.h"

#include "heatmap.h"

#include <math.h>
#include <string.h>

/* ---- text */

/* One character of UTF-8 at `text`, and its bytes; 0xfffd where it is none, is a control, or turns text round. */
static uint32_t read_character(const unsigned char *text, size_t *n)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    size_t more = *text < 0x80 ? 0 : *text >> 5 == 6 ? 1 : *text >> 4 == 14 ? 2 : *text >> 3 == 30 ? 3 : 4;
    uint32_t c = more ? *text & (0x3fu >> more) : *text;
    *n = 1;
    if (more == 4)
        return 0xfffd;
    for (size_t i = 1; i <= more; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0xfffd;
        c = c << 6 | (text[i] & 0x3f);
    }
    *n = 1 + more;
    bool is_control = c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
                      (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
    bool is_none = c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || (c & 0xfffe) == 0xfffe;
    return is_control || is_none ? 0xfffd : c;
}

static size_t count_characters(const char *text)
{
    size_t n = 0, bytes;
    for (; *text; text += bytes, n++)
        read_character((const unsigned char *)text, &bytes);
    return n;
}

void clean_text(const char *text, size_t most, char *to)
{
    static const char unknown[] = "\xef\xbf\xbd", cut[] = "…";
    size_t n = count_characters(text), head = n > most ? (most - 1) / 2 : n, tail = n - (most - 1 - head);
    for (size_t i = 0, bytes; *text; i++, text += bytes) {
        bool is_good = read_character((const unsigned char *)text, &bytes) != 0xfffd;
        if (n > most && i == head)
            to = strcpy(to, cut) + strlen(cut);
        if (n > most && i >= head && i < tail)
            continue;
        memcpy(to, is_good ? text : unknown, is_good ? bytes : strlen(unknown));
        to += is_good ? bytes : strlen(unknown);
    }
    *to = '\0';
}

const char *grouped_number(uint64_t number, char text[32])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    char *to = text;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

const char *short_number(double number, int digits, char text[32])
{
    if (isfinite(number))
        snprintf(text, 32, "%.*g", digits, number);
    else
        strcpy(text, "–");
    return text;
}

double page_share(double part, double all)
{
    return all > 0 ? part / all : (double)NAN;
}

/* ---- style */

static const char style_text[] =
    ":root{color-scheme:light dark;--paper:#fff;--card:#f6f7f8;--ink:#1d1f22;--soft:#5d646c;--line:#dfe2e6;"
    "--accent:#17569e;--pale:#eef2f7}"
    "*{box-sizing:border-box}"
    "html{-webkit-text-size-adjust:100%}"
    "body{margin:0 auto;max-width:1080px;padding:40px 24px 64px;background:var(--paper);color:var(--ink);"
    "font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;overflow-wrap:anywhere}"
    "h1{font-size:30px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}"
    "h2{font-size:21px;line-height:1.3;margin:56px 0 6px;padding-top:14px;border-top:1px solid var(--line)}"
    "h3{font-size:16px;margin:30px 0 2px}"
    "p{margin:6px 0 12px;max-width:46em}.soft,figcaption{color:var(--soft)}"
    "figure{margin:0 0 10px}figcaption{font-size:14px;line-height:1.5;max-width:52em;text-align:left;"
    "margin:0 0 10px}"
    ".facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:24px 0 0;"
    "padding:0}"
    ".facts div{background:var(--card);border-radius:10px;padding:12px 16px}"
    ".facts dt{font-size:13px;color:var(--soft)}"
    ".facts dd{margin:2px 0 "
    "0;font-size:22px;font-weight:600;line-height:1.25;font-variant-numeric:tabular-nums}"
    ".facts dd span,.facts dd small{white-space:nowrap}.facts dd "
    "small{font-size:13px;font-weight:400;color:var(--soft)}"
    ".box{overflow-x:auto;max-width:100%;-webkit-overflow-scrolling:touch;padding-bottom:4px}"
    ".box:focus-visible{outline:2px solid var(--accent);outline-offset:2px}"
    "table{border-collapse:collapse;font-size:14px;line-height:1.4;font-variant-numeric:tabular-nums}"
    "th,td{padding:6px 14px 6px 0;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line);"
    "vertical-align:top}"
    "th{font-weight:600}thead th{color:var(--soft);font-weight:500;vertical-align:bottom}"
    "th:first-child,td.words,th.words{text-align:left}"
    "td.wide,th.wide{white-space:normal;min-width:13em;text-align:left}"
    "tbody th{font-weight:500;max-width:22em;white-space:normal;min-width:7em}"
    "td.bar{min-width:110px;width:32%;padding-right:10px;vertical-align:top}"
    "td.bar svg{display:block;width:100%;height:12px;margin-top:4px}"
    ".fill{fill:var(--accent)}.track{fill:var(--pale)}"
    ".full{width:100%}"
    ".stack{display:block;width:100%;height:26px;border-radius:6px}"
    ".b0{fill:#17569e}.b1{fill:#5f93cf}.b2{fill:#b9bec5}"
    ".key{display:flex;flex-wrap:wrap;gap:4px 22px;margin:8px 0 0;padding:0;list-style:none;font-size:14px}"
    ".key svg{width:12px;height:12px;margin-right:7px;vertical-align:-1px}"
    ".strips{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:0 40px;"
    "align-items:start}.strips figure{min-width:0}.broad{grid-column:1/-1}"
    ".hm{display:block;max-width:none;height:auto}"
    ".strip{display:block;margin:2px 0}.legend{display:block;max-width:100%;height:auto}"
    ".strip text,.legend text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;"
    "font-size:12px;fill:var(--ink)}"
    ".strip .soft,.legend .soft{fill:var(--soft)}"
    ".strip rect{stroke:var(--paper);stroke-width:1}"
    ".none{fill:var(--pale)}"
    "details{margin:18px 0}summary{cursor:pointer;color:var(--accent);font-weight:600}"
    "footer{margin-top:56px;padding-top:14px;border-top:1px solid "
    "var(--line);font-size:14px;color:var(--soft)}"
    "code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.92em}"
    "@media(max-width:560px){body{padding:24px 16px 48px}h1{font-size:25px}h2{margin-top:42px}"
    ".facts{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}.facts div{padding:10px 12px}"
    ".facts dd{font-size:19px}}"
    "@media screen and (prefers-color-scheme:dark){:root{--paper:#16181b;--card:#1f2226;--ink:#e6e8ea;"
    "--soft:#9aa2ab;--line:#33383e;--accent:#68aaf5;--pale:#2d3136}"
    ".b0{fill:#68aaf5}.b1{fill:#3d6fa8}.b2{fill:#565d66}}"
    "@media print{:root{color-scheme:light}body{max-width:none;padding:0;font-size:11pt}"
    "*{-webkit-print-color-adjust:exact;print-color-adjust:exact}"
    "h2{break-after:avoid}h3{break-after:avoid}figure,tr,.facts{break-inside:avoid}.box{overflow:visible}"
    "table{font-size:8pt}th,td{padding:3px 8px 3px 0}"
    ".hm,.strip{max-width:100%;height:auto}details::details-content{content-visibility:visible;height:auto}"
    "summary{list-style:none}}";

/* Levels of the accent, from pale to strong, and the colour of numbers on them. */
static void write_strip_levels(FILE *to, const int pale[3], const int strong[3])
{
    for (int level = 0; level <= 10; level++) {
        int c[3];
        for (int i = 0; i < 3; i++)
            c[i] = pale[i] + (strong[i] - pale[i]) * level / 10;
        fprintf(to, ".strip .s%d,.legend .s%d{fill:#%02x%02x%02x}.strip .t%d{fill:%s}", level, level,
                (unsigned)c[0], (unsigned)c[1], (unsigned)c[2], level, readable_on(c[0], c[1], c[2]));
    }
}

static void write_style(FILE *to)
{
    const int light[2][3] = {{234, 240, 247}, {23, 86, 158}}, dark[2][3] = {{38, 43, 50}, {104, 170, 245}};
    fputs(style_text, to);
    write_strip_levels(to, light[0], light[1]);
    fputs("@media screen and (prefers-color-scheme:dark){", to);
    write_strip_levels(to, dark[0], dark[1]);
    fputs("}", to);
    heat_map_style(to);
}

void page_begin(FILE *to, const char *title)
{
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
          "'unsafe-inline'\">\n<title>",
          to);
    write_xml_text(to, title);
    fputs("</title>\n<style>", to);
    write_style(to);
    fputs("</style>\n</head>\n<body>\n", to);
}

void page_end(FILE *to)
{
    fprintf(to,
            "<footer>Written by <code>emr report</code>, libemr %s. Nothing on this page is loaded from "
            "elsewhere.</footer>\n</body>\n</html>\n",
            emr_version());
}
