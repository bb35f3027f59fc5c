/* export.h - symbol visibility, C linkage, and the macro that initialises a struct. */
#ifndef EMR_EXPORT_H
#define EMR_EXPORT_H

#include <stddef.h>
#include <stdint.h>

/* Windows: define EMR_DLL to use libemr as a DLL. Without it nothing is imported, which suits a static
 * library and works with an import library too. */
#if defined(_WIN32) && defined(EMR_DLL) && defined(EMR_BUILDING)
#define EMR_API __declspec(dllexport)
#elif defined(_WIN32) && defined(EMR_DLL)
#define EMR_API __declspec(dllimport)
#elif defined(__GNUC__) && !defined(_WIN32)
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

/* A struct with its size set and every other member zero, which always means the default:
 *     emr_merge_options options = EMR_INIT(emr_merge_options);
 * In C this does the same and sets a member too:
 *     emr_merge_options options = {.size = sizeof options, .embed_base = 1};
 */
#ifdef __cplusplus
#define EMR_INIT(type) (::emr_init<type>())
extern "C++" {
template <typename T> static inline T emr_init()
{
    T value = T();
    value.size = sizeof(T);
    return value;
}
}
#else
#define EMR_INIT(type) ((type){.size = sizeof(type)})
#endif

/* A conversion, in C and in C++, for the inline functions of headers. */
#ifdef __cplusplus
#define EMR_CAST(type, value) (static_cast<type>(value))
#else
#define EMR_CAST(type, value) ((type)(value))
#endif

/* Stands for the base wherever a task's number is expected. */
#define EMR_BASE UINT32_MAX

#endif
