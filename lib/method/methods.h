/* methods.h - the library's merging methods (emr/method.h), each in a file of its own. */
#ifndef EMR_METHOD_METHODS_H
#define EMR_METHOD_METHODS_H

#include "emr/method.h"

#endif
