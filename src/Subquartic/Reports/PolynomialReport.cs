using Subquartic.Criteria;

namespace Subquartic.Reports;

/// <summary>Attention with exp replaced by the polynomial of one degree, in double precision, against exact attention.</summary>
/// <param name="Degree">g.</param>
/// <param name="PolynomialError">Certified relative error of the weights.</param>
/// <param name="Measured">Largest error of an output found, as a fraction of the range of V.</param>
/// <param name="Bound">Its certified bound, tanh(atanh(eps)/2).</param>
public sealed record PolynomialErrorRow(int Degree, double PolynomialError, double Measured, double Bound);

/// <summary>Measured and certified error over the degree.</summary>
/// <param name="HalfRange">B: largest absolute score; it is reached.</param>
/// <param name="Queries">Rows of scores tried, random and of the two-valued kind that is worst.</param>
/// <param name="Keys">Scores in a row.</param>
/// <param name="Rows">Rising degree, until the error is that of rounding.</param>
public sealed record PolynomialReport(double HalfRange, int Queries, int Keys, IReadOnlyList<PolynomialErrorRow> Rows)
{
    /// <summary>Whole heads and their certificates, or null when they were not asked for.</summary>
    public CertificateReport? Certificates { get; init; }

    private const int MaxDegree = 40, QueryCount = 64, KeyCount = 256;

    /// <summary>Measures.</summary>
    /// <param name="halfRange">B, above 0 and at most <see cref="ExpPolynomial.MaxHalfRange"/>.</param>
    /// <returns>The report.</returns>
    public static PolynomialReport Measure(double halfRange)
    {
        var random = new Random(1);
        var rows = new List<PolynomialErrorRow>();
        for (int degree = 0; degree <= MaxDegree; degree++)
        {
            ExpPolynomial polynomial = ExpPolynomial.Fit(halfRange, degree);
            if (polynomial.Error >= 1)
            {
                continue; // such weights may be negative, and nothing is promised
            }

            if (rows.Count > 0 && polynomial.Error < 1e-2 && polynomial.Error > rows[^1].PolynomialError / 2)
            {
                break; // rounding in double precision, which the certificate includes, has taken over
            }

            double worst = 0;
            for (int i = 0; i < QueryCount; i++)
            {
                worst = Math.Max(worst, Error(polynomial, Row(random, i, halfRange), random));
            }

            rows.Add(new PolynomialErrorRow(degree, polynomial.Error, worst, Math.Tanh(Math.Atanh(polynomial.Error) / 2)));
        }

        return new PolynomialReport(halfRange, QueryCount, KeyCount, rows);
    }

    /// <summary>Both curves, in powers of ten.</summary>
    /// <returns>An SVG document.</returns>
    public string Picture() => LineChart.Draw(
        $"Error of attention by polynomials, |score| up to {HalfRange}", "degree",
        new ChartPanel("log10 of the certified bound, fraction of the range of V", [.. Rows.Select(row => ((double)row.Degree, Math.Log10(row.Bound)))]),
        new ChartPanel("log10 of the largest error measured", [.. Rows.Select(row => ((double)row.Degree, Math.Log10(row.Measured)))]));

    private static double[] Row(Random random, int index, double halfRange)
    {
        double[] scores = new double[KeyCount];
        double two = halfRange * ((2 * random.NextDouble()) - 1);
        for (int j = 0; j < scores.Length; j++)
        {
            scores[j] = index % 2 == 0 ? halfRange * ((2 * random.NextDouble()) - 1) : j % 2 == 0 ? two : -halfRange;
        }

        (scores[0], scores[1]) = (halfRange, -halfRange);
        return scores;
    }

    private static double Error(ExpPolynomial polynomial, double[] scores, Random random)
    {
        // Values 0 and 1 by the score make the worst case, as they put the weight that moves on one side.
        double threshold = polynomial.HalfRange * ((2 * random.NextDouble()) - 1);
        double exactSum = 0, exact = 0, sum = 0, value = 0;
        foreach (double score in scores)
        {
            double v = score > threshold ? 1 : 0;
            double weight = Math.Exp(score);
            double approximation = polynomial.Evaluate(score);
            exactSum += weight;
            exact += weight * v;
            sum += approximation;
            value += approximation * v;
        }

        return Math.Abs((value / sum) - (exact / exactSum));
    }
}
