// count_news.cpp - operators new that count: how the tests see that a call allocates nothing.
#include <cstddef>
#include <cstdlib>
#include <new>

std::size_t n_news = 0;
extern std::size_t n_news;

void *operator new(std::size_t bytes)
{
    n_news++;
    void *pointer = std::malloc(bytes ? bytes : 1);
    if (!pointer)
        std::abort();
    return pointer;
}

void operator delete(void *pointer) noexcept
{
    std::free(pointer);
}

void operator delete(void *pointer, std::size_t) noexcept
{
    std::free(pointer);
}
