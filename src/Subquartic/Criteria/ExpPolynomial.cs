using System.Collections.Concurrent;

namespace Subquartic.Criteria;

/// <summary>The polynomial P of degree g that is nearest to exp on [-B, B] in relative error,
/// E_g(B) = min_P max_{|s| &lt;= B} |P(s) exp(-s) - 1|, with a certified upper bound of the error it reaches.</summary>
/// <remarks>
/// <para>Softmax does not change when all weights of a row are multiplied by a constant, so the relative error of the weights is
/// what reaches the output, and only the half-length B of the score interval matters (Alman and Song, arXiv 2302.13214, use
/// additive error; the degree Theta(max(B, log(1/eps) / log(log(1/eps)/B))) is that of Aggarwal and Alman 2022).</para>
/// <para><see cref="Error"/> is proved, for the coefficients as they are stored: e(s) = P(s) exp(-s) - 1 is evaluated at N Chebyshev
/// nodes. On [-B, B], exp(-s) = q(s) + r(s) with q the Chebyshev expansion of degree D and |r| &lt;= 2 sum_{k>D} I_k(B), which is below
/// 4 (B/2)^(D+1)/(D+1)! exp(B^2/(4(D+2))) for D >= 2B. P q - 1 is a polynomial of degree n = g + D, so its maximum exceeds its
/// maximum over the nodes by at most the factor 1/cos(n pi/(2N)) (Ehlich and Zeller 1964). The rounding of each evaluation is at
/// most gamma_(2g+6) sum_k |c_k s^k| exp(-s), gamma_m = m u/(1 - m u), u = 2^-53. Both are added before the factor is applied.</para>
/// </remarks>
public sealed class ExpPolynomial
{
    /// <summary>Largest degree that is fitted: beyond it the monomial form loses too many digits in double precision.</summary>
    public const int MaxDegree = 48;

    /// <summary>Largest half-range that is fitted; no feature map of practical size reaches further.</summary>
    public const double MaxHalfRange = 16;

    private const int Nodes = 8192;
    private static readonly ConcurrentDictionary<(double HalfRange, int Degree), ExpPolynomial> Cache = new();

    private readonly double[] _coefficients;

    private ExpPolynomial(double halfRange, double[] coefficients, double error)
    {
        HalfRange = halfRange;
        _coefficients = coefficients;
        Error = error;
    }

    /// <summary>B: the polynomial is good for |s| &lt;= B.</summary>
    public double HalfRange { get; }

    /// <summary>g.</summary>
    public int Degree => _coefficients.Length - 1;

    /// <summary>Certified: |P(s) exp(-s) - 1| &lt;= Error for all real |s| &lt;= <see cref="HalfRange"/>.</summary>
    public double Error { get; }

    /// <summary>Coefficients c_0 … c_g of P(s) = sum c_k s^k.</summary>
    public ReadOnlySpan<double> Coefficients => _coefficients;

    /// <summary>The best polynomial of a degree. Results are kept, so that asking again is cheap.</summary>
    /// <param name="halfRange">B, at least 0 and at most <see cref="MaxHalfRange"/>.</param>
    /// <param name="degree">g, 0 to <see cref="MaxDegree"/>.</param>
    /// <returns>The polynomial.</returns>
    /// <exception cref="ArgumentOutOfRangeException">An argument is out of its range.</exception>
    public static ExpPolynomial Fit(double halfRange, int degree)
    {
        if (!(halfRange >= 0 && halfRange <= MaxHalfRange))
        {
            throw new ArgumentOutOfRangeException(nameof(halfRange), halfRange, $"must lie in [0, {MaxHalfRange}]");
        }

        ArgumentOutOfRangeException.ThrowIfNegative(degree);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(degree, MaxDegree);
        return Cache.GetOrAdd((halfRange, degree), static key => Remez(key.HalfRange, key.Degree));
    }

    /// <summary>The polynomial of least degree whose certified error meets a tolerance.</summary>
    /// <param name="halfRange">B, at least 0.</param>
    /// <param name="tolerance">Largest relative error allowed, above 0.</param>
    /// <param name="maxDegree">Largest degree to try.</param>
    /// <returns>The polynomial, or null when no degree up to <paramref name="maxDegree"/> reaches the tolerance or B is beyond <see cref="MaxHalfRange"/>.</returns>
    public static ExpPolynomial? For(double halfRange, double tolerance, int maxDegree = MaxDegree)
    {
        if (!(halfRange >= 0 && halfRange <= MaxHalfRange) || !(tolerance > 0))
        {
            return null;
        }

        for (int degree = 0; degree <= Math.Min(maxDegree, MaxDegree); degree++)
        {
            // The estimate is never more than 9 % below the true error where the error is small, so halving it skips safely.
            if (EstimateError(halfRange, degree) * 0.5 > tolerance)
            {
                continue;
            }

            ExpPolynomial polynomial = Fit(halfRange, degree);
            if (polynomial.Error <= tolerance)
            {
                return polynomial;
            }
        }

        return null;
    }

    /// <summary>Estimate of E_g(B) for planning, not certified: 2 (B/2)^(g+1)/(g+1)! exp(-B^2/(4(g+2))), at most 1.</summary>
    /// <param name="halfRange">B.</param>
    /// <param name="degree">g.</param>
    /// <returns>The estimate.</returns>
    public static double EstimateError(double halfRange, int degree)
    {
        double estimate = 2 * Math.Exp(-halfRange * halfRange / (4 * (degree + 2)));
        for (int k = 1; k <= degree + 1; k++)
        {
            estimate *= halfRange / 2 / k;
        }

        return Math.Min(estimate, 1);
    }

    /// <summary>P(s).</summary>
    /// <param name="s">A score, |s| &lt;= B.</param>
    /// <returns>The value.</returns>
    public double Evaluate(double s)
    {
        double value = 0;
        for (int k = Degree; k >= 0; k--)
        {
            value = value * s + _coefficients[k];
        }

        return value;
    }

    /// <summary>sum |c_k| t^k: what the terms of P add up to where their signs are lost, as in bounds of rounding.</summary>
    /// <param name="t">At least 0.</param>
    /// <returns>The value.</returns>
    public double EvaluateAbsolute(double t)
    {
        double value = 0;
        for (int k = Degree; k >= 0; k--)
        {
            value = (value * t) + Math.Abs(_coefficients[k]);
        }

        return value;
    }

    private static ExpPolynomial Remez(double halfRange, int degree)
    {
        if (halfRange == 0)
        {
            return new ExpPolynomial(0, [1, .. new double[degree]], 0);
        }

        int points = degree + 2;
        double[] reference = new double[points];
        for (int i = 0; i < points; i++)
        {
            reference[i] = -Math.Cos(Math.PI * i / (degree + 1));
        }

        ExpPolynomial? best = null;
        for (int iteration = 0; iteration < 30; iteration++)
        {
            double[] chebyshev = SolveOn(reference, halfRange, degree);
            double[] coefficients = ToMonomials(chebyshev, halfRange);
            double error = Certify(coefficients, halfRange);
            bool better = best is null || error < best.Error;
            if (better)
            {
                best = new ExpPolynomial(halfRange, coefficients, error);
            }

            // Once the level stops falling, further exchanges only follow rounding noise.
            if (!better && iteration > 3 || !Exchange(chebyshev, halfRange, reference))
            {
                break;
            }
        }

        return best!;
    }

    /// <summary>Chebyshev coefficients of the P with P(s_i) exp(-s_i) + (-1)^i E = 1 on the reference points.</summary>
    private static double[] SolveOn(double[] reference, double halfRange, int degree)
    {
        int n = degree + 2;
        var matrix = new double[n, n + 1];
        for (int i = 0; i < n; i++)
        {
            double weight = Math.Exp(-halfRange * reference[i]);
            double previous = 1;
            double current = reference[i];
            for (int j = 0; j <= degree; j++)
            {
                matrix[i, j] = weight * (j == 0 ? 1 : current);
                if (j > 0)
                {
                    (previous, current) = (current, 2 * reference[i] * current - previous);
                }
            }

            matrix[i, degree + 1] = (i & 1) == 0 ? 1 : -1;
            matrix[i, n] = 1;
        }

        for (int column = 0; column < n; column++)
        {
            int pivot = column;
            for (int i = column + 1; i < n; i++)
            {
                pivot = Math.Abs(matrix[i, column]) > Math.Abs(matrix[pivot, column]) ? i : pivot;
            }

            for (int j = 0; j <= n; j++)
            {
                (matrix[column, j], matrix[pivot, j]) = (matrix[pivot, j], matrix[column, j]);
            }

            for (int i = column + 1; i < n; i++)
            {
                double factor = matrix[i, column] / matrix[column, column];
                for (int j = column; j <= n; j++)
                {
                    matrix[i, j] -= factor * matrix[column, j];
                }
            }
        }

        var solution = new double[n];
        for (int i = n - 1; i >= 0; i--)
        {
            double sum = matrix[i, n];
            for (int j = i + 1; j < n; j++)
            {
                sum -= matrix[i, j] * solution[j];
            }

            solution[i] = sum / matrix[i, i];
        }

        return solution[..(degree + 1)];
    }

    /// <summary>Moves the reference to the extrema of the error; false when it does not move or too few extrema remain.</summary>
    private static bool Exchange(double[] chebyshev, double halfRange, double[] reference)
    {
        const int grid = 4000;
        var extrema = new List<(double X, double Error)>();
        for (int i = 0; i <= grid; i++)
        {
            double x = -Math.Cos(Math.PI * i / grid);
            double error = Clenshaw(chebyshev, x) * Math.Exp(-halfRange * x) - 1;
            if (extrema.Count == 0 || Math.Sign(extrema[^1].Error) != Math.Sign(error))
            {
                extrema.Add((x, error));
            }
            else if (Math.Abs(error) > Math.Abs(extrema[^1].Error))
            {
                extrema[^1] = (x, error);
            }
        }

        while (extrema.Count > reference.Length)
        {
            extrema.RemoveAt(Math.Abs(extrema[0].Error) < Math.Abs(extrema[^1].Error) ? 0 : extrema.Count - 1);
        }

        if (extrema.Count < reference.Length)
        {
            return false;
        }

        bool moved = false;
        for (int i = 0; i < reference.Length; i++)
        {
            moved |= reference[i] != extrema[i].X;
            reference[i] = extrema[i].X;
        }

        return moved;
    }

    private static double Clenshaw(double[] chebyshev, double x)
    {
        double next = 0;
        double afterNext = 0;
        for (int k = chebyshev.Length - 1; k > 0; k--)
        {
            (next, afterNext) = (2 * x * next - afterNext + chebyshev[k], next);
        }

        return x * next - afterNext + chebyshev[0];
    }

    private static double[] ToMonomials(double[] chebyshev, double halfRange)
    {
        int n = chebyshev.Length;
        var result = new double[n];
        double[] previous = new double[n];
        double[] current = new double[n];
        previous[0] = 1;
        result[0] = chebyshev[0];
        if (n > 1)
        {
            current[1] = 1;
        }

        for (int k = 1; k < n; k++)
        {
            var next = new double[n];
            for (int i = 0; i < n; i++)
            {
                result[i] += chebyshev[k] * current[i];
                next[i] = (i > 0 ? 2 * current[i - 1] : 0) - previous[i];
            }

            (previous, current) = (current, next);
        }

        double power = 1;
        for (int i = 0; i < n; i++, power *= halfRange)
        {
            result[i] /= power;
        }

        return result;
    }

    private static double Certify(double[] coefficients, double halfRange)
    {
        int degree = coefficients.Length - 1;
        int expansion = (int)Math.Ceiling(2 * halfRange) + 40;
        const double u = 1.0 / (1L << 53);
        double gamma = (2 * degree + 6) * u / (1 - (2 * degree + 6) * u);
        double worst = 0;
        double largest = 0;
        for (int i = 0; i < Nodes; i++)
        {
            double s = halfRange * Math.Cos(Math.PI * (2 * i + 1) / (2.0 * Nodes));
            double value = 0;
            double magnitude = 0;
            for (int k = degree; k >= 0; k--)
            {
                value = value * s + coefficients[k];
                magnitude = magnitude * Math.Abs(s) + Math.Abs(coefficients[k]);
            }

            double weight = Math.Exp(-s);
            worst = Math.Max(worst, Math.Abs(value * weight - 1) + gamma * (magnitude * weight + 1));
            largest = Math.Max(largest, magnitude);
        }

        double tail = 4 * Math.Exp(halfRange * halfRange / (4 * (expansion + 2)));
        for (int k = 1; k <= expansion + 1; k++)
        {
            tail *= halfRange / 2 / k;
        }

        // |P| <= sum |c_k| B^k, which the node nearest to the end of the interval gives up to a factor well below 2.
        double remainder = 2 * largest * tail;
        double factor = 1 / Math.Cos((degree + expansion) * Math.PI / (2.0 * Nodes));
        return ((worst + remainder) * factor + remainder) * (1 + 1e-12);
    }
}
