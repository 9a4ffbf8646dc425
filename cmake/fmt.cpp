// fmt's functions, compiled once for the whole program: header-only, each object file carries half a megabyte of them
// and takes seconds longer to compile. What its headers declare and leave to be instantiated in one place stands below.
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
template auto locale_ref::get<std::locale>() const -> std::locale;
template auto detail::thousands_sep_impl<char>(locale_ref) -> detail::thousands_sep_result<char>;
template auto detail::decimal_point_impl<char>(locale_ref) -> char;
template auto detail::dragonbox::to_decimal<float>(float) noexcept -> detail::dragonbox::decimal_fp<float>;
template auto detail::dragonbox::to_decimal<double>(double) noexcept -> detail::dragonbox::decimal_fp<double>;
FMT_END_NAMESPACE
