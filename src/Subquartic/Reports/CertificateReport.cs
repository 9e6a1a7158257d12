using Subquartic.Attention;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Reports;

/// <summary>Certificates of heads of one kind.</summary>
/// <param name="Kind">What the heads are like.</param>
/// <param name="Cases">Heads tried.</param>
/// <param name="Approximated">Those not computed exactly.</param>
/// <param name="LargestErrorOverBound">At most 1 if the bounds hold.</param>
/// <param name="MedianBoundOverError">How far above the error the bound usually is, where there was an error.</param>
public sealed record CertificateRow(HostileKind Kind, int Cases, int Approximated, double LargestErrorOverBound, double MedianBoundOverError);

/// <summary>Low-rank attention against softmax in double precision, on random and hostile heads, under random tolerances and reductions.</summary>
/// <param name="Cases">Heads tried.</param>
/// <param name="Approximated">Those not computed exactly.</param>
/// <param name="Violations">Errors above their bound; 0 if the proof and the code are right.</param>
/// <param name="FirstViolation">The first of them in words, or null.</param>
/// <param name="MedianBoundOverError">Over all that were approximated and had an error.</param>
/// <param name="Rows">Kind by kind.</param>
public sealed record CertificateReport(
    int Cases, int Approximated, int Violations, string? FirstViolation, double MedianBoundOverError, IReadOnlyList<CertificateRow> Rows)
{
    private const int Tolerances = 9;

    /// <summary>Measures.</summary>
    /// <param name="kernels">Kernels of the strategy; one thread is best, as the heads are small.</param>
    /// <param name="cases">Number of heads.</param>
    /// <param name="cancellation">Stops between heads.</param>
    /// <returns>The report.</returns>
    public static CertificateReport Measure(KernelSet kernels, int cases, CancellationToken cancellation = default)
    {
        var strategies = new Dictionary<(int, int), LowRankAttention>();
        HostileKind[] kinds = Enum.GetValues<HostileKind>();
        List<double>[] ratios = [.. kinds.Select(_ => new List<double>())];
        int[] tried = new int[kinds.Length], approximated = new int[kinds.Length];
        (int violations, string? first) = (0, null);
        for (int seed = 0; seed < cases; seed++)
        {
            cancellation.ThrowIfCancellationRequested();
            int kind = seed % kinds.Length;
            int turn = seed / kinds.Length;
            (int Tolerance, int Reductions) key = (turn % Tolerances, turn / Tolerances % 10);
            if (!strategies.TryGetValue(key, out LowRankAttention? strategy))
            {
                strategy = new LowRankAttention(kernels, new LowRankOptions
                {
                    Tolerance = Math.Pow(10, -1 - (key.Tolerance / 2.0)), Reductions = Reductions(key.Reductions), OnlyWhenFaster = false,
                });
                strategies.Add(key, strategy);
            }

            using var head = new HostileHead(seed, kinds[kind]);
            Certificate certificate = strategy.Attend(head.Input, head.Output);
            double error = head.MaxError();
            tried[kind]++;
            if (!(error <= certificate.ErrorBound))
            {
                violations++;
                first ??= $"head {seed}, {kinds[kind]}, {strategy.Options}: error {error}, {certificate}";
            }

            if (certificate.Path != AttentionPath.Exact)
            {
                approximated[kind]++;
                if (error > 0 && double.IsFinite(certificate.ErrorBound))
                {
                    ratios[kind].Add(certificate.ErrorBound / error);
                }
            }
        }

        foreach (LowRankAttention strategy in strategies.Values)
        {
            strategy.Dispose();
        }

        return new CertificateReport(
            cases, approximated.Sum(), violations, first, Median(ratios.SelectMany(r => r)),
            [.. kinds.Select((kind, i) => new CertificateRow(kind, tried[i], approximated[i], ratios[i].Count == 0 ? 0 : 1 / ratios[i].Min(), Median(ratios[i])))]);
    }

    /// <summary>All reductions, none, or all but one.</summary>
    private static LowRankReductions Reductions(int index)
    {
        LowRankReductions all = LowRankReductions.All;
        return index switch
        {
            0 => LowRankReductions.None,
            1 => all with { KeyCentring = false },
            2 => all with { QueryCentring = false },
            3 => all with { Rebalancing = false },
            4 => all with { Rotation = false },
            5 => all with { Projection = false },
            6 => all with { RowPolynomials = false },
            7 => all with { RowFallback = false },
            8 => all with { OutlierKeys = false },
            _ => all,
        };
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length == 0 ? double.NaN : sorted[sorted.Length / 2];
    }
}
