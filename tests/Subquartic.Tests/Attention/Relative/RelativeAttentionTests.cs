using Subquartic.Attention;
using Subquartic.Attention.Relative;
using Subquartic.Numerics.Kernels;
using Subquartic.Reports;

namespace Subquartic.Tests.Attention.Relative;

public class RelativeAttentionTests
{
    [Fact]
    public void The_judges_gradient_is_that_of_central_differences()
    {
        RelativeInput x = Draw(new Random(1), 5, 2, 2, bias: true);
        double[,] upstream = Uniform(new Random(2), 5, 2, 1);
        RelativeGradient gradient = ReferenceRelativeAttention.Gradient(x, upstream);
        double Loss()
        {
            double[,] output = ReferenceRelativeAttention.Attend(x);
            return output.Cast<double>().Zip(upstream.Cast<double>(), (a, b) => a * b).Sum();
        }

        foreach ((double[,] operand, double[,] actual) in new[] { (x.Queries, gradient.Queries), (x.Keys, gradient.Keys), (x.Values, gradient.Values) })
        {
            for (int i = 0; i < operand.GetLength(0); i++)
            {
                for (int l = 0; l < operand.GetLength(1); l++)
                {
                    double old = operand[i, l];
                    Assert.Equal(Difference(value => operand[i, l] = value, old), actual[i, l], 1e-9);
                }
            }
        }

        foreach ((double[] operand, double[] actual) in x.Entries.Select(e => e.Values).Append(x.Bias!).Zip(gradient.Entries.Append(gradient.Bias)))
        {
            for (int t = 0; t < operand.Length; t++)
            {
                double old = operand[t];
                Assert.Equal(Difference(value => operand[t] = value, old), actual[t], 1e-9);
            }
        }

        double Difference(Action<double> set, double old)
        {
            const double h = 1e-3;
            double At(double value)
            {
                set(value);
                double loss = Loss();
                set(old);
                return loss;
            }

            return ((8 * (At(old + h) - At(old - h))) - (At(old + (2 * h)) - At(old - (2 * h)))) / (12 * h);
        }
    }

    /// <summary>Random and hostile calls; degrees from those that promise nothing to those where rounding rules.</summary>
    [Fact]
    public void No_error_exceeds_its_certificate()
    {
        int approximated = 0;
        for (int seed = 0; seed < 400; seed++)
        {
            var random = new Random(seed);
            RelativeInput x = Hostile(random, seed);
            var fast = new FourierRelativeAttention(1e-2) { Degree = random.Next(0, 10) };
            double[,] output = fast.Attend(x, out Certificate certificate), expected = ReferenceRelativeAttention.Attend(x);
            if (certificate.Path == AttentionPath.Exact)
            {
                continue;
            }

            approximated++;
            double largest = x.Values.Cast<double>().Max(Math.Abs);
            double error = output.Cast<double>().Zip(expected.Cast<double>(), (a, b) => Math.Abs(a - b)).Max();
            // The judge rounds too, by some units of the last place of the values for each token.
            Assert.True(error <= certificate.ErrorBound + (1e-14 * largest), $"seed {seed}: error {error}, {certificate}");
        }

        Assert.InRange(approximated, 200, 400);
    }

    /// <summary>The same calls, with upstream gradients of all sizes.</summary>
    [Fact]
    public void No_error_of_a_gradient_exceeds_its_certificate()
    {
        int certified = 0;
        double closest = 0;
        for (int seed = 0; seed < 400; seed++)
        {
            var random = new Random(seed);
            RelativeInput x = Hostile(random, seed);
            double[,] upstream = Uniform(random, x.Tokens, x.ValueWidth, Math.Pow(10, random.Next(-20, 20)));
            var fast = new FourierRelativeAttention(1e-2) { Degree = random.Next(0, 10) };
            RelativeGradient actual = fast.Gradient(x, upstream, out RelativeGradientCertificate bounds), expected = ReferenceRelativeAttention.Gradient(x, upstream);
            if (bounds.Path == AttentionPath.Exact)
            {
                Assert.Equal(expected.Queries, actual.Queries);
                continue;
            }

            // The judge rounds too: by some units in each of N terms, which are at most so large.
            double largest = Largest(upstream.Cast<double>()), values = Largest(x.Values.Cast<double>()), entries = x.Entries.Max(e => Largest(e.Values));
            double queries = Largest(x.Queries.Cast<double>()), keys = Largest(x.Keys.Cast<double>()), unit = 1e-14 * x.Tokens * largest;
            certified += double.IsFinite(bounds.Queries) ? 1 : 0;
            Check("dQ", actual.Queries.Cast<double>(), expected.Queries.Cast<double>(), bounds.Queries, unit * values * entries * keys * x.Entries.Count);
            Check("dK", actual.Keys.Cast<double>(), expected.Keys.Cast<double>(), bounds.Keys, unit * values * entries * queries * x.Entries.Count);
            Check("dV", actual.Values.Cast<double>(), expected.Values.Cast<double>(), bounds.Values, unit);
            Check("db", actual.Bias, expected.Bias, bounds.Bias, unit * values);
            for (int e = 0; e < x.Entries.Count; e++)
            {
                Check("dW", actual.Entries[e], expected.Entries[e], bounds.Entries, unit * values * queries * keys);
            }

            void Check(string what, IEnumerable<double> some, IEnumerable<double> right, double bound, double rounding)
            {
                double error = some.Zip(right, (a, b) => Math.Abs(a - b)).Max();
                Assert.True(error <= bound + rounding, $"seed {seed}: {what} is off by {error}, {bounds}");
                closest = bound > 100 * rounding ? Math.Max(closest, error / bound) : closest;
            }
        }

        // Most calls are certified, and the bounds say something: an error comes within a factor of 20.
        Assert.InRange(certified, 150, 400);
        Assert.InRange(closest, 0.05, 1);

        static double Largest(IEnumerable<double> x) => x.Max(Math.Abs);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_fast_gradient_tends_to_the_dense_one(bool bias)
    {
        RelativeInput x = Draw(new Random(3), 21, 2, 3, bias);
        double[,] upstream = Uniform(new Random(4), 21, 3, 1);
        RelativeGradient exact = ReferenceRelativeAttention.Gradient(x, upstream);
        double before = double.PositiveInfinity;
        foreach (int degree in new[] { 4, 7, 10 })
        {
            RelativeGradient fast = new FourierRelativeAttention(1e-2) { Degree = degree }.Gradient(x, upstream, out RelativeGradientCertificate certificate);
            Assert.Equal(AttentionPath.LowRank, certificate.Path);
            double error = 0;
            foreach ((double[,] a, double[,] b) in new[] { (fast.Queries, exact.Queries), (fast.Keys, exact.Keys), (fast.Values, exact.Values) })
            {
                error = Math.Max(error, a.Cast<double>().Zip(b.Cast<double>(), (p, q) => Math.Abs(p - q)).Max());
            }

            foreach ((double[] a, double[] b) in fast.Entries.Append(fast.Bias).Zip(exact.Entries.Append(exact.Bias)))
            {
                error = Math.Max(error, a.Zip(b, (p, q) => Math.Abs(p - q)).Max());
            }

            Assert.True(error < before / 20, $"degree {degree}: {error} after {before}");
            before = error;
        }

        Assert.InRange(before, 0, 1e-6);
    }

    [Fact]
    public void Costly_and_unbounded_calls_are_computed_in_full()
    {
        RelativeInput x = Draw(new Random(5), 30, 2, 2, bias: false);
        var fast = new FourierRelativeAttention(1e-3);
        Assert.Equal(ReferenceRelativeAttention.Attend(x), fast.Attend(x, out Certificate certificate));
        Assert.Equal(AttentionPath.Exact, certificate.Path);
        Assert.Contains("terms", certificate.Reason, StringComparison.Ordinal);
        Scale(x.Queries, 100);
        fast.Attend(x, out certificate);
        Assert.Contains("no polynomial", certificate.Reason, StringComparison.Ordinal);
        x.Queries[0, 0] = double.NaN;
        fast.Attend(x, out certificate);
        Assert.Equal(AttentionPath.Exact, certificate.Path);
        Assert.Throws<ArgumentException>(() => fast.Attend(x with { Bias = [1] }, out _));
    }

    [Fact]
    public void The_report_holds_its_promises()
    {
        RopeReport report = RopeReport.Measure(KernelSet.Best, 32);
        Assert.InRange(report.Identity, 0, 1e-12);
        Assert.InRange(report.MapIdentity, 0, 5e-6);
        Assert.InRange(report.DenseExponent, 1.999, 2.001);
        Assert.InRange(report.FourierExponent, 1, 1.25);
        Assert.All(report.Errors, row => Assert.InRange(row.Measured, 0, row.Bound));
        Assert.All(report.Errors, row => Assert.InRange(row.GradientShare, 0, 1));
        Assert.True(report.Errors.Count >= 6 && report.Errors[^1].GradientError < 1e-4);
        Assert.All(report.Scaling, p => Assert.InRange(p.Difference, 0, p.ErrorBound + 1e-5));
        Assert.Equal((1, 0), (report.Refusals[0].Rotated, report.Refusals[^1].Rotated));
        Assert.Contains("Rotary", report.Picture(), StringComparison.Ordinal);
    }

    private static RelativeInput Hostile(Random random, int seed)
    {
        RelativeInput x = Draw(random, random.Next(1, 40), random.Next(1, 3), random.Next(1, 4), random.Next(2) == 0);
        switch (seed % 8)
        {
            case 1:
                x = x with { Bias = [.. Enumerable.Range(0, (2 * x.Tokens) - 1).Select(t => -0.5 * Math.Abs(t - x.Tokens + 1))] }; // as ALiBi
                break;
            case 2:
                x = x with { Bias = [.. Enumerable.Range(0, (2 * x.Tokens) - 1).Select(_ => 150 * random.NextDouble())] };
                break;
            case 3:
                Scale(x.Values, 1e100);
                break;
            case 4:
                Scale(x.Queries, 1e-200);
                Scale(x.Keys, 1e200);
                break;
            case 5:
                Scale(x.Keys, 0);
                break;
            case 6:
                Shift(x.Values, 1e6);
                break;
            case 7:
                foreach (RelativeEntry entry in x.Entries)
                {
                    Array.Clear(entry.Values, 0, x.Tokens);
                }

                break;
        }

        return x;
    }

    private static RelativeInput Draw(Random random, int tokens, int width, int valueWidth, bool bias)
    {
        double size = 0.3 + (0.7 * random.NextDouble());
        return new RelativeInput(
            Uniform(random, tokens, width, size), Uniform(random, tokens, width, 1), Uniform(random, tokens, valueWidth, 1),
            [.. Enumerable.Range(0, width).Select(l => new RelativeEntry(l, random.Next(width), Sequence(1)))], bias ? Sequence(2) : null, 0.9);

        double[] Sequence(double largest) => [.. Enumerable.Range(0, (2 * tokens) - 1).Select(_ => largest * ((2 * random.NextDouble()) - 1))];
    }

    private static double[,] Uniform(Random random, int rows, int columns, double size)
    {
        var matrix = new double[rows, columns];
        Change(matrix, _ => size * ((2 * random.NextDouble()) - 1));
        return matrix;
    }

    private static void Scale(double[,] matrix, double factor) => Change(matrix, x => x * factor);

    private static void Shift(double[,] matrix, double offset) => Change(matrix, x => x + offset);

    private static void Change(double[,] matrix, Func<double, double> change)
    {
        for (int i = 0; i < matrix.GetLength(0); i++)
        {
            for (int j = 0; j < matrix.GetLength(1); j++)
            {
                matrix[i, j] = change(matrix[i, j]);
            }
        }
    }
}
