/* export.h - how symbols are exported, and the macro that initialises option structs. */
#ifndef EMR_EXPORT_H
#define EMR_EXPORT_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && !defined(EMR_STATIC)
#if defined(EMR_BUILDING)
#define EMR_API __declspec(dllexport)
#else
#define EMR_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define EMR_API __attribute__((visibility("default")))
#else
#define EMR_API
#endif

#ifdef __cplusplus
#define EMR_BEGIN_DECLS extern "C" {
#define EMR_END_DECLS   }
#else
#define EMR_BEGIN_DECLS
#define EMR_END_DECLS
#endif

/* The number of the base wherever the number of a task is asked for. */
#define EMR_BASE UINT32_MAX

/* An option struct with its size set and every member zero (the default):
 *     emr_merge_options options = EMR_INIT(emr_merge_options);
 * In C, this says the same and sets members too:
 *     emr_merge_options options = {.size = sizeof options, .embed_base = 1};
 */
#ifdef __cplusplus
#define EMR_INIT(type) (::emr_init<type>())
template <typename T> static inline T emr_init()
{
    T value = T();
    value.size = sizeof(T);
    return value;
}
#else
#define EMR_INIT(type) ((type){.size = sizeof(type)})
#endif

#endif
