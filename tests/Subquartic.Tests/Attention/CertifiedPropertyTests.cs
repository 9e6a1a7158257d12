using System.Globalization;
using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Xunit.Abstractions;

namespace Subquartic.Tests.Attention;

/// <summary>Every row's error, against softmax in double precision that is not rounded, stays within its certificate.</summary>
/// <remarks>A million rows; the environment variable SUBQUARTIC_PROPERTY_ROWS asks for another number, as in
/// <c>SUBQUARTIC_PROPERTY_ROWS=10000000 dotnet test -c Release --filter CertifiedPropertyTests</c>.</remarks>
public sealed class CertifiedPropertyTests(ITestOutputHelper log) : IDisposable
{
    private readonly KernelSet _kernels = KernelSet.Create(KernelSet.Best.Name, 1); // a case is too small to share

    [Fact]
    public void No_row_exceeds_its_bound()
    {
        long wanted = long.Parse(Environment.GetEnvironmentVariable("SUBQUARTIC_PROPERTY_ROWS") ?? "1000000", CultureInfo.InvariantCulture);
        CertifiedSampleKind[] kinds = Enum.GetValues<CertifiedSampleKind>();
        var tightest = new Dictionary<string, double>();
        var ratios = new List<double>();
        long rows = 0, flat = 0, merged = 0, quantized = 0;
        var fast = new HashSet<CertifiedSampleKind>();
        for (int seed = 0; rows < wanted; seed++)
        {
            var random = new Random(seed);
            using var sample = new CertifiedSample(random, kinds[seed % kinds.Length]);
            var tolerance = new Tolerance(Math.Pow(10, -0.3 - (3.5 * random.NextDouble())), (ToleranceKind)random.Next(3));
            using var attention = new CertifiedAttention(_kernels, tolerance, Reckless(random));
            var bounds = new double[sample.Output.Rows];
            Certificate certificate = attention.Attend(sample.Input, sample.OutputHead, bounds);
            double[] errors = sample.Errors();
            for (int i = 0; i < errors.Length; i++)
            {
                Assert.True(errors[i] <= bounds[i], $"seed {seed}, {sample.Kind}, {tolerance}, row {i}: error {errors[i]} > {bounds[i]}; {certificate}");
                Assert.True(bounds[i] <= certificate.ErrorBound, $"seed {seed}: {certificate}");
            }

            rows += errors.Length;
            flat += certificate.FlatRows;
            merged += certificate.MergedRows;
            quantized += certificate.QuantizedRows;
            Assert.Equal(certificate.Rows, certificate.FlatRows + certificate.MergedRows + certificate.QuantizedRows + certificate.ExactRows);
            if (certificate.ExactRows == 0)
            {
                fast.Add(sample.Kind);
                string path = certificate.FlatRows > 0 ? "flat" : certificate.MergedRows == 0 ? "quantized" : "merged";
                double ratio = errors.Zip(bounds, (error, bound) => error / bound).Max();
                tightest[path] = Math.Max(ratio, tightest.GetValueOrDefault(path));
                ratios.AddRange(errors.Zip(bounds, (error, bound) => bound / Math.Max(error, 1e-300)));
            }
        }

        ratios.Sort();
        log.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{rows} rows, {flat} flat, {merged} merged, {quantized} quantized; largest error/bound flat {tightest["flat"]:g3}, merged {tightest["merged"]:g3}, quantized {tightest["quantized"]:g3}; median bound/error {ratios[ratios.Count / 2]:g3}"));
        Assert.InRange(flat, rows / 8, rows); // else the test would mostly check the exact kernel
        Assert.InRange(merged, rows / 8, rows);
        Assert.InRange(quantized, rows / 8, rows);
        Assert.InRange(tightest["merged"], 0.2, 1); // the bound is nearly attained by small clusters
        Assert.InRange(tightest["flat"], 0.2, 1);
        Assert.InRange(tightest["quantized"], 0.2, 1);
        Assert.Superset(
            kinds.Except([CertifiedSampleKind.HugeNorms, CertifiedSampleKind.DenormalValues, CertifiedSampleKind.FarValues, CertifiedSampleKind.EqualValues]).ToHashSet(),
            fast);
    }

    [Fact]
    public void What_is_approximated_meets_the_tolerance()
    {
        for (int seed = 0; seed < 600; seed++)
        {
            var random = new Random(seed);
            using var sample = new CertifiedSample(random, CertifiedSampleKind.SmoothMaps);
            double tolerance = Math.Pow(10, -3 * random.NextDouble());
            using var attention = new CertifiedAttention(_kernels, new Tolerance(tolerance, ToleranceKind.Absolute), Reckless(random));
            Certificate certificate = attention.Attend(sample.Input, sample.OutputHead);
            if (certificate.ExactRows == 0)
            {
                Assert.InRange(certificate.ErrorBound, 0, tolerance);
            }
        }
    }

    /// <summary>Two keys of equal weight all of whose coordinates are rounded in opposite directions, now and then; alone, or each twice and merged.</summary>
    [Theory]
    [InlineData(1, false, 0.2)]
    [InlineData(4, false, 0.3)]
    [InlineData(64, false, 0.3)]
    [InlineData(4, true, 0.1)]
    [InlineData(64, true, 0.1)]
    public void Integers_hold_their_bound_where_all_coordinates_of_a_key_are_rounded_the_same_way(int width, bool merge, double reached)
    {
        double worst = 0;
        for (int seed = 0; seed < 4000; seed++)
        {
            // Two keys with their coordinates exchanged, so that a query of equal ones cannot tell them apart, but for a little in the unit that the longest key sets; and two that make the mean zero.
            var random = new Random(seed);
            double tilt = width == 1 ? 0 : 0.3 * random.NextDouble(), longer = 0.6 + (0.3 * random.NextDouble());
            double step = 2 * longer * Math.Max(Math.Sqrt(width) / 46000, 1.0 / 32700) * random.NextDouble() * 0.05, scores = Math.Pow(10, (merge ? 1.2 : 2) * random.NextDouble());
            (double, double)[] keys = [(1 + tilt, 1 - tilt), (1 - tilt + step, 1 + tilt + step), (-longer * (2 + step), -longer * (2 + step)), ((longer - 1) * (2 + step), (longer - 1) * (2 + step))];
            worst = Math.Max(worst, LargestRatio(width, keys, [1, -1, 0, 0], [scores / width, -scores / width], merge)); // the pilot of both queries is zero
        }

        log.WriteLine($"largest error/bound {worst:g3}");
        Assert.InRange(worst, reached, 1);
    }

    /// <summary>Many keys just below half a unit of weight, or just above it, beside one of the largest weight.</summary>
    [Fact]
    public void Integers_hold_their_bound_where_all_weights_are_rounded_the_same_way()
    {
        double worst = 0;
        for (int seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            var keys = new (double, double)[63];
            var values = new double[63];
            double far = -Math.Log((1 << 14) / ((random.Next(2) == 0 ? 0.4 : 0.55) + random.Next(3)));
            keys.AsSpan().Fill((far / 2 * (1 + (1e-3 * random.NextDouble())), 0));
            values.AsSpan().Fill(-1);
            (keys[0], values[0]) = ((-far / 2, 0), 1);
            worst = Math.Max(worst, LargestRatio(1, keys, values, [1, -1], merge: false));
        }

        log.WriteLine($"largest error/bound {worst:g3}");
        Assert.InRange(worst, 0.6, 1);
    }

    /// <summary>Values that are all rounded the same way, under weights without any error.</summary>
    [Fact]
    public void Integers_hold_their_bound_where_all_values_are_rounded_the_same_way()
    {
        double worst = 0;
        for (int n = 1; n < 2000; n += 13)
        {
            double[] values = new double[60];
            values.AsSpan().Fill((n + 0.499) / 2046);
            (values[0], values[1]) = (1, -1);
            worst = Math.Max(worst, LargestRatio(1, new (double, double)[60], values, [0], merge: false));
        }

        log.WriteLine($"largest error/bound {worst:g3}");
        Assert.InRange(worst, 0.3, 1);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void What_is_not_finite_is_computed_exactly_and_without_a_promise(float bad)
    {
        for (int seed = 0; seed < 60; seed++)
        {
            var random = new Random(seed);
            using var sample = new CertifiedSample(random, CertifiedSampleKind.Uniform, bad);
            using var attention = new CertifiedAttention(_kernels, 0.1, Reckless(random));
            Certificate certificate = attention.Attend(sample.Input, sample.OutputHead);
            Assert.Equal((AttentionPath.Exact, double.PositiveInfinity), (certificate.Path, certificate.ErrorBound));
        }
    }

    public void Dispose() => _kernels.Pool.Dispose();

    /// <summary>Largest error over bound of a head in integers; each key twice when they are to be merged.</summary>
    private double LargestRatio(int width, (double Even, double Odd)[] keys, double[] values, double[] queries, bool merge)
    {
        int times = merge ? 2 : 1;
        using var sample = new CertifiedSample(
            width, [.. queries.Select(q => (float)q)], [.. keys.SelectMany(k => Enumerable.Repeat(((float)k.Even, (float)k.Odd), times))], [.. values.SelectMany(v => Enumerable.Repeat((float)v, times))]);
        CertifiedPlan plan = Reckless(new Random(1), merge) with { Quantized = true, LeafSize = 2, TileSize = 8 };
        using var attention = new CertifiedAttention(_kernels, new Tolerance(merge ? 0.03 : 1, ToleranceKind.Absolute), plan);
        var bounds = new double[queries.Length];
        Certificate certificate = attention.Attend(sample.Input, sample.OutputHead, bounds);
        if (!merge)
        {
            Assert.Equal(queries.Length, certificate.QuantizedRows);
        }
        else if (certificate.MergedRows < queries.Length)
        {
            return 0;
        }

        double worst = 0;
        foreach ((double error, double bound) in sample.Errors().Zip(bounds))
        {
            Assert.True(error <= bound, $"error {error} > {bound}: {string.Join(" ", keys)}; {certificate}");
            worst = Math.Max(worst, error / bound);
        }

        return worst;
    }

    /// <summary>A plan that tries everything, worth it or not.</summary>
    private static CertifiedPlan Reckless(Random random) => random.Next(3) switch
    {
        0 => Reckless(random, merge: false) with { Flat = true },
        1 => Reckless(random, merge: true) with { Quantized = random.Next(2) == 0 },
        _ => Reckless(random, merge: false) with { Quantized = true },
    };

    private static CertifiedPlan Reckless(Random random, bool merge) => new()
    {
        SmallQueryMean = random.Next(2) == 0 ? double.PositiveInfinity : 0.1,
        SmallKeyMean = random.Next(2) == 0 ? double.PositiveInfinity : 0.25,
        LeastPairs = 0,
        MergePairs = merge ? 0 : long.MaxValue,
        Flat = false,
        Quantized = false,
        LeafSize = random.Next(2, 9),
        TileSize = random.Next(2, 24),
        Costs = new(new CertifiedCosts { List = 0, Tile = 0, Entry = 0, Head = 0 }),
        HeadWorthIt = double.PositiveInfinity,
        LeafErrorLimit = double.PositiveInfinity,
        FewRows = random.Next(3),
    };
}
