using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Reports;
using Xunit.Abstractions;

namespace Subquartic.Tests.Attention;

/// <summary>Low-rank attention against softmax in double precision, not rounded, on random and on hostile input.</summary>
public class LowRankPropertyTests(ITestOutputHelper log)
{
    [Fact]
    public void No_error_of_a_hundred_thousand_heads_exceeds_its_certificate()
    {
        using var set = new OwnedKernels();
        CertificateReport report = CertificateReport.Measure(set.Kernels, 100_000);
        foreach (CertificateRow row in report.Rows)
        {
            log.WriteLine($"{row}");
        }

        log.WriteLine($"{report.Approximated} of {report.Cases} approximated, median bound/error {report.MedianBoundOverError:g3}");
        Assert.True(report.Violations == 0, report.FirstViolation);
        Assert.InRange(report.Approximated, report.Cases / 2, report.Cases); // else the test would mostly check the exact kernel
        Assert.InRange(report.MedianBoundOverError, 1, 100);
        Assert.All(report.Rows, row => Assert.InRange(row.Approximated, 1 + (row.Cases / 10), row.Cases));
    }

    [Fact]
    public void What_is_approximated_meets_the_tolerance()
    {
        using var set = new OwnedKernels();
        for (int seed = 0; seed < 2000; seed++)
        {
            double tolerance = Math.Pow(10, -1 - (seed % 5));
            using var head = new HostileHead(seed, (HostileKind)(seed % 16));
            using var attention = new LowRankAttention(set.Kernels, new LowRankOptions { Tolerance = tolerance, OnlyWhenFaster = false });
            Certificate certificate = attention.Attend(head.Input, head.Output);

            // What is exact, and the return of the offset of V, may add rounding alone.
            double rounding = ExactAttention.RoundingBound(head.Input);
            double allowed = (tolerance * head.ValueRange) + (2e-7 * (head.LargestValue + head.ValueRange)) + 2e-45;
            Assert.True(
                certificate.Path == AttentionPath.Exact || certificate.ErrorBound <= Math.Max(allowed, rounding), $"{seed}: {certificate}, {allowed}, {rounding}");
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void What_is_not_finite_is_computed_exactly_and_without_a_promise(float bad)
    {
        using var set = new OwnedKernels();
        using var attention = new LowRankAttention(set.Kernels, new LowRankOptions { Tolerance = 1e-2, OnlyWhenFaster = false });
        for (int seed = 0; seed < 60; seed++)
        {
            using var head = new HostileHead(seed, seed % 2 == 0 ? HostileKind.Uniform : HostileKind.NearlyFlat, bad);
            Certificate certificate = attention.Attend(head.Input, head.Output);
            Assert.Equal((AttentionPath.Exact, double.PositiveInfinity), (certificate.Path, certificate.ErrorBound));
        }
    }

    private sealed class OwnedKernels : IDisposable
    {
        /// <summary>One thread: the work of a case is too small to share.</summary>
        public KernelSet Kernels { get; } = KernelSet.Create(KernelSet.Best.Name, 1);

        public void Dispose() => Kernels.Pool.Dispose();
    }
}
