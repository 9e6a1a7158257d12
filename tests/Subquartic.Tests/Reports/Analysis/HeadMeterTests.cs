using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Reports.Analysis;

namespace Subquartic.Tests.Reports.Analysis;

public class HeadMeterTests
{
    // Queries and keys beyond one block of scores, beyond none, and one key.
    [Theory]
    [InlineData(130, 700, 5)]
    [InlineData(3, 4, 9)]
    [InlineData(1, 1, 4)]
    public void Measures_what_plain_loops_measure(int queries, int keys, int width)
    {
        const float scale = 0.7f;
        using var memory = new FloatBuffer((queries + (2L * keys)) * width);
        Matrix q = memory.Matrix(queries, width), k = memory.Matrix(keys, width, (long)queries * width), v = memory.Matrix(keys, width, (long)(queries + keys) * width);
        var random = new Random(queries);
        foreach (ref float value in memory.Span())
        {
            value = 1 + (4 * (random.NextSingle() - 0.5f)); // far from centred
        }

        var meter = new HeadMeter();
        var entries = new Histogram();
        var scores = new Histogram();
        meter.Measure(q, k, v, scale, 1, 1, KernelSet.Best, entries, scores);
        meter.Measure(q, k, v, scale, 1, 1, KernelSet.Best, entries, scores); // means stay, counts double

        double[] centre = [.. Enumerable.Range(0, width).Select(l => (Column(k, l).Min() + Column(k, l).Max()) / 2)];
        double[] mean = [.. Enumerable.Range(0, width).Select(l => Column(q, l).Average())];
        double raw = 0, keysMoved = 0, bothMoved = 0, half = 0, entropy = 0, squares = 0, trace = 0;
        for (int i = 0; i < queries; i++)
        {
            double[] row = [.. Enumerable.Range(0, keys).Select(j => Score(i, j, false, false))];
            raw = Math.Max(raw, row.Max(Math.Abs));
            keysMoved = Math.Max(keysMoved, Enumerable.Range(0, keys).Max(j => Math.Abs(Score(i, j, true, false))));
            bothMoved = Math.Max(bothMoved, Enumerable.Range(0, keys).Max(j => Math.Abs(Score(i, j, true, true))));
            half = Math.Max(half, (row.Max() - row.Min()) / 2);
            double sum = row.Sum(Math.Exp);
            entropy += keys == 1 ? 1 : row.Sum(s => -Math.Exp(s) / sum * Math.Log(Math.Exp(s) / sum)) / Math.Log(keys) / queries;
        }

        var covariance = new double[width, width];
        for (int a = 0; a < width; a++)
        {
            for (int b = 0; b < width; b++)
            {
                double meanA = Column(k, a).Average(), meanB = Column(k, b).Average();
                covariance[a, b] = Column(k, a).Zip(Column(k, b), (x, y) => (x - meanA) * (y - meanB)).Sum();
            }
        }

        foreach (double value in SymmetricEigenvalues.Of(covariance))
        {
            trace += value;
            squares += value * value;
        }

        // 1e-4: scores of a few units, summed in float32 by the meter.
        Assert.Equal((raw, keysMoved, bothMoved, half), (meter.Score, meter.KeyCentredScore, meter.CentredScore, meter.RowHalfRange), new Near(1e-4));
        Assert.Equal(entropy, meter.Entropy, 1e-5);
        Assert.Equal(squares == 0 ? 0 : trace * trace / squares, meter.KeyRank, 1e-3);
        Assert.Equal(Enumerable.Range(0, queries).SelectMany(i => q.Row(i).ToArray()).Max(Math.Abs), meter.LargestQuery, 1e-6);
        Assert.Equal(Enumerable.Range(0, keys).SelectMany(i => v.Row(i).ToArray()).Max(Math.Abs), meter.LargestValue, 1e-6);
        Assert.True(meter.CertifiedHalfRange >= bothMoved - 1e-9);
        Assert.Equal(2L * queries * keys, scores.Counts.ToArray().Sum());
        Assert.Equal(2L * (queries + keys) * width, entries.Counts.ToArray().Sum());

        double Score(int i, int j, bool moveKeys, bool moveQueries)
        {
            double sum = 0;
            for (int l = 0; l < width; l++)
            {
                sum += scale * (q.Row(i)[l] - (moveQueries ? mean[l] : 0)) * (k.Row(j)[l] - (moveKeys ? centre[l] : 0));
            }

            return sum;
        }

        static double[] Column(Matrix x, int l) => [.. Enumerable.Range(0, x.Rows).Select(i => (double)x.Row(i)[l])];
    }

    [Fact]
    public void Damaged_numbers_are_refused()
    {
        using var memory = new FloatBuffer(8);
        memory.Span()[5] = float.NaN;
        Matrix x = memory.Matrix(2, 4);
        Assert.Throws<ArithmeticException>(() => new HeadMeter().Measure(x, x, x, 1, 1, 1, KernelSet.Best, new Histogram(), new Histogram()));
    }

    private sealed class Near(double tolerance) : IEqualityComparer<(double, double, double, double)>
    {
        public bool Equals((double, double, double, double) x, (double, double, double, double) y) =>
            Close(x.Item1, y.Item1) && Close(x.Item2, y.Item2) && Close(x.Item3, y.Item3) && Close(x.Item4, y.Item4);

        public int GetHashCode((double, double, double, double) obj) => 0;

        private bool Close(double a, double b) => Math.Abs(a - b) <= tolerance;
    }
}
