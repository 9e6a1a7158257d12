namespace Subquartic.Criteria;

/// <summary>The criterion of Alman and Song for attention of order k (arXiv 2302.13214 for k = 2, 2310.04064 for k &gt;= 3): with d = O(log N), entries
/// o((log N)^(1/k)) allow accuracy 1/poly(N) in N^(1 + o(1)) time, entries Omega((log N)^(1/k)) do not allow N^(k - Omega(1)) unless the strong
/// exponential-time hypothesis fails. With tau = d scores are at most R^k, so that in scores the threshold is log N for all orders.</summary>
/// <param name="Order">k.</param>
/// <param name="Tokens">N.</param>
/// <param name="Threshold">(ln N)^(1/k).</param>
/// <param name="Entry">Largest R whose polynomial has at most N features, to two digits.</param>
/// <param name="HalfRange">R^k.</param>
/// <param name="Degree">g at that R.</param>
/// <param name="Features">C(d + g, g).</param>
public sealed record EntryThreshold(int Order, int Tokens, double Threshold, double Entry, double HalfRange, int Degree, double Features)
{
    /// <summary>Calculates.</summary>
    /// <param name="order">k, at least 2.</param>
    /// <param name="tokens">N, at least 2.</param>
    /// <param name="width">d.</param>
    /// <param name="accuracy">Relative error of the weights.</param>
    /// <returns>The threshold.</returns>
    /// <exception cref="ArgumentException">Not even entries of 0.01 have so few features.</exception>
    public static EntryThreshold Create(int order, int tokens, int width, double accuracy)
    {
        // The number of features only grows with the entries: least step that fails, by bisection.
        int serves = 0, fails = (int)(100 * Math.Pow(ExpPolynomial.MaxHalfRange, 1.0 / order)) + 1;
        while (fails - serves > 1)
        {
            int step = (serves + fails) / 2;
            (serves, fails) = CountOf(width, DegreeFor(Math.Pow(step / 100.0, order), accuracy)) <= tokens ? (step, fails) : (serves, step);
        }

        double entry = serves / 100.0, halfRange = Math.Pow(entry, order);
        return serves > 0 && DegreeFor(halfRange, accuracy) is { } degree
            ? new EntryThreshold(order, tokens, Math.Pow(Math.Log(tokens), 1.0 / order), entry, halfRange, degree, CountOf(width, degree))
            : throw new ArgumentException($"{tokens} features of {width} columns do not reach an accuracy of {accuracy} at all.");
    }

    /// <summary>The least degree that serves scores up to a bound, or null.</summary>
    /// <param name="halfRange">B.</param>
    /// <param name="accuracy">Relative error of the weights.</param>
    /// <returns>g.</returns>
    public static int? DegreeFor(double halfRange, double accuracy) => ExpPolynomial.For(halfRange, accuracy)?.Degree;

    private static double CountOf(int width, int? degree) => degree is { } g ? MonomialBasis.CountOf(width, g) : double.PositiveInfinity;
}
