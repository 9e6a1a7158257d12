using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Reports;

/// <summary>One stage of a fast run beside the same stage in double precision.</summary>
/// <param name="Stage">Scale 1, 2, …; then the feature map, the decoder's attention, and the image.</param>
/// <param name="Tokens">Tokens or pixels of its output.</param>
/// <param name="Path">How its attention was computed, or null where there is none.</param>
/// <param name="Added">Error that its attention may add, by its certificate; 0 where there is none.</param>
/// <param name="Measured">Largest difference of an output from double precision.</param>
/// <param name="Certified">Its bound, from the whole chain up to here.</param>
public sealed record ChainRow(string Stage, int Tokens, AttentionPath? Path, double Added, double Measured, double Certified);

/// <summary>The end of a chain, over the tolerance.</summary>
/// <param name="Tolerance">Largest error of an attention output, as a fraction of the range of V.</param>
/// <param name="Measured">Largest difference of a pixel.</param>
/// <param name="Certified">Its bound.</param>
public sealed record ChainPoint(double Tolerance, double Measured, double Certified);

/// <summary>One way of execution.</summary>
/// <param name="Mode">Which.</param>
/// <param name="Rows">Stage by stage.</param>
/// <param name="Curve">The end of the chain at falling tolerances.</param>
public sealed record ChainRun(VarExecution Mode, IReadOnlyList<ChainRow> Rows, IReadOnlyList<ChainPoint> Curve);

/// <summary>The error of attention by polynomials on its way through a whole network with continuous tokens: measured, and certified by constants of every
/// operation (Ke et al., arXiv 2501.04377, whose lemmas say 1/poly in, 1/poly out).</summary>
/// <param name="Side">n.</param>
/// <param name="Width">d.</param>
/// <param name="Entry">R.</param>
/// <param name="Tolerance">Tolerance of the tables.</param>
/// <param name="Runs">Both ways of execution.</param>
public sealed record ChainReport(int Side, int Width, double Entry, double Tolerance, IReadOnlyList<ChainRun> Runs)
{
    private const int CurvePoints = 6;

    /// <summary>Runs the network in both ways, fast and in double precision.</summary>
    /// <param name="kernels">Kernels of low-rank attention.</param>
    /// <param name="side">n, a power of two.</param>
    /// <param name="width">d.</param>
    /// <param name="entry">R.</param>
    /// <param name="tolerance">Largest error of an attention output, as a fraction of the range of V.</param>
    /// <param name="cancellation">Stops between runs.</param>
    /// <returns>The report.</returns>
    public static ChainReport Measure(KernelSet kernels, int side, int width, double entry, double tolerance, CancellationToken cancellation = default)
    {
        ScaleSchedule scales = ScaleSchedule.Square([.. Enumerable.Range(0, int.Log2(side) + 1).Select(k => 1 << k)]);
        var network = new ContinuousVar(scales, width, entry, seed: 1);
        return new ChainReport(side, width, entry, tolerance, [.. Enum.GetValues<VarExecution>().Select(mode =>
        {
            var exact = network.Run(mode, null);
            ChainRow[] rows = Compare(tolerance);
            ChainPoint[] curve = [.. Enumerable.Range(1, CurvePoints).Select(i => Math.Pow(10, -i)).Select(t => (t, Compare(t)[^1])).Select(
                point => new ChainPoint(point.t, point.Item2.Measured, point.Item2.Certified))];
            return new ChainRun(mode, rows, curve);

            ChainRow[] Compare(double at)
            {
                cancellation.ThrowIfCancellationRequested();
                using var attention = new LowRankAttention(kernels, new LowRankOptions { Tolerance = at, OnlyWhenFaster = false });
                return [.. network.Run(mode, attention).Zip(exact, (fast, slow) => new ChainRow(
                    fast.Name, fast.Output.Tokens, fast.Certificate?.Path, fast.Certificate?.ErrorBound ?? 0,
                    fast.Output.Values.Zip(slow.Output.Values, (a, b) => Math.Abs(a - b)).Max(), fast.Output.Error + slow.Output.Error))];
            }
        })]);
    }

    /// <summary>Error and bound along the chain, and at its end over the tolerance.</summary>
    /// <returns>An SVG document.</returns>
    public string Picture() => LineChart.Draw(
        $"Errors on their way through a network, n = {Side}, d = {Width}, R = {Entry}", "stage; -log10 tolerance", [.. Runs.SelectMany(run => new[]
        {
            new ChartPanel($"{run.Mode}: log10 of the certified error, stage by stage", [.. run.Rows.Select((row, i) => (i + 1.0, Math.Log10(row.Certified)))]),
            new ChartPanel($"{run.Mode}: log10 of the measured error, stage by stage", [.. run.Rows.Select((row, i) => (i + 1.0, Math.Log10(row.Measured)))]),
            new ChartPanel($"{run.Mode}: log10 of the certified error of the image", [.. run.Curve.Select(p => (-Math.Log10(p.Tolerance), Math.Log10(p.Certified)))]),
            new ChartPanel($"{run.Mode}: log10 of the measured error of the image", [.. run.Curve.Select(p => (-Math.Log10(p.Tolerance), Math.Log10(p.Measured)))]),
        })]);
}
