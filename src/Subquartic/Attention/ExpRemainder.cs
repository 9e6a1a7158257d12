using System.Runtime.Intrinsics;

namespace Subquartic.Attention;

/// <summary>Bounds of exp on an interval that contains 0: |e^x - 1| &lt;= Phi(b) |x| and
/// 0 &lt;= e^x - 1 - x &lt;= Psi(b) x^2/2 for |x| &lt;= b.</summary>
/// <remarks>phi(b) = (e^b - 1)/b and psi(b) = 2 (e^b - 1 - b)/b^2 are power series with positive coefficients, hence increasing,
/// and psi increases on the negative axis too (it is the mean of e^(tb) under the density 2 (1 - t) on [0, 1]), where it is positive. Sums of series are
/// closed by a geometric series; rounding in double is covered by the last factor.</remarks>
internal static class ExpRemainder
{
    private const double Up = 1 + 1e-12;

    /// <summary>At least (e^b - 1)/b, b &gt;= 0.</summary>
    public static double Phi(double b) => b < 1
        ? (1 + (b * (1.0 / 2) * (1 + (b * (1.0 / 3) * (1 + (b * (1.0 / 4) * (1 + (b * (1.0 / 5) / (1 - (b * (1.0 / 6))))))))))) * Up
        : (Math.Exp(b) - 1) / b * Up;

    /// <summary>At least (e^b - 1)/b of each lane, b &gt;= 0.</summary>
    public static Vector512<double> Phi(Vector512<double> b)
    {
        Vector512<double> one = Vector512<double>.One;
        Vector512<double> series = b * (1.0 / 5) / (one - (b * (1.0 / 6)));
        series = one + (b * (1.0 / 4) * (one + series));
        series = (one + (b * (1.0 / 2) * (one + (b * (1.0 / 3) * series)))) * Up;
        if (Vector512.LessThanAll(b, one))
        {
            return series;
        }

        Vector512<double> all = series;
        for (int i = 0; i < Vector512<double>.Count; i++)
        {
            all = b[i] < 1 ? all : all.WithElement(i, Phi(b[i]));
        }

        return all;
    }

    /// <summary>At least 2 (e^b - 1 - b)/b^2, b &gt;= 0.</summary>
    public static double Psi(double b) => b < 1
        ? (1 + (b / 3 * (1 + (b / 4 * (1 + (b / 5 * (1 + (b / 6 / (1 - (b / 7)))))))))) * Up
        : 2 * (Math.Exp(b) - 1 - b) / (b * b) * Up;
}
