// The promise: the Beta distribution's quantiles are scipy.stats.beta.ppf's (scipy 1.17.1), which space noise levels.
#include "interface/beta_quantile.h"

#include <gtest/gtest.h>

namespace i2i {
namespace {

struct Quantile {
  double p, a, b, expected;
};

TEST(BetaQuantile, IsScipys) {
  for (const auto& [p, a, b, expected] : {Quantile{1e-09, 0.6, 0.6, 1.8558824624914101e-15},
                                          Quantile{0.001, 0.6, 0.6, 1.855873851745199e-05},
                                          Quantile{0.05, 0.6, 0.6, 0.012554456873611399},
                                          Quantile{0.3333333333333333, 0.6, 0.6, 0.27541329077762339},
                                          Quantile{0.5, 0.6, 0.6, 0.50000000000000011},
                                          Quantile{0.7, 0.6, 0.6, 0.76598299612476428},
                                          Quantile{0.99, 0.6, 0.6, 0.99913876117845712},
                                          Quantile{1e-09, 2.0, 5.0, 8.1650546997689391e-06},
                                          Quantile{0.001, 2.0, 5.0, 0.0082554927877466783},
                                          Quantile{0.05, 2.0, 5.0, 0.06284989170835438},
                                          Quantile{0.3333333333333333, 2.0, 5.0, 0.19539879380609193},
                                          Quantile{0.5, 2.0, 5.0, 0.26444998329566005},
                                          Quantile{0.7, 2.0, 5.0, 0.36035769038002013},
                                          Quantile{0.99, 2.0, 5.0, 0.70568632831970746},
                                          Quantile{1e-09, 0.3, 4.0, 1.9049653209186642e-31},
                                          Quantile{0.001, 0.3, 4.0, 1.9049653210024112e-11},
                                          Quantile{0.05, 0.3, 4.0, 8.7726179027516465e-06},
                                          Quantile{0.3333333333333333, 0.3, 4.0, 0.0049480782300111428},
                                          Quantile{0.5, 0.3, 4.0, 0.019778314565049332},
                                          Quantile{0.7, 0.3, 4.0, 0.067658058003788366},
                                          Quantile{0.99, 0.3, 4.0, 0.51181873043007808},
                                          Quantile{1e-09, 5.0, 1.5, 0.013000931501256084},
                                          Quantile{0.001, 5.0, 1.5, 0.20982732061241754},
                                          Quantile{0.05, 5.0, 1.5, 0.47337738695108744},
                                          Quantile{0.3333333333333333, 5.0, 1.5, 0.72231857551284007},
                                          Quantile{0.5, 5.0, 1.5, 0.79775087035193382},
                                          Quantile{0.7, 5.0, 1.5, 0.8729164202758497},
                                          Quantile{0.99, 5.0, 1.5, 0.9891022958529001}}) {
    EXPECT_NEAR(beta_quantile(p, a, b), expected, 1e-12 * expected) << p << " of Beta(" << a << ", " << b << ")";
  }
}

TEST(BetaQuantile, EndsAreExactAndTheCurveRises) {
  EXPECT_EQ(beta_quantile(0, 0.6, 0.6), 0.0);
  EXPECT_EQ(beta_quantile(1, 0.6, 0.6), 1.0);
  EXPECT_DOUBLE_EQ(beta_quantile(0.5, 0.6, 0.6), 0.5);
  double before = 0;
  for (int i = 1; i <= 1000; ++i) {
    const double now = beta_quantile(i / 1000.0, 0.6, 0.6);
    ASSERT_GT(now, before) << i;
    before = now;
  }
}

}  // namespace
}  // namespace i2i
