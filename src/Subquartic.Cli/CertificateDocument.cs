using System.Globalization;
using Subquartic.Attention;

namespace Subquartic.Cli;

/// <summary>How attention was computed in a run, in <c>--json</c> and as a line; null for strategies that only compute exactly.</summary>
/// <param name="Strategy">Its name on the command line.</param>
/// <param name="Tolerance">Largest error allowed, as a fraction of the range of V.</param>
/// <param name="Heads">Heads of all calls.</param>
/// <param name="ApproximatedHeads">Those that were approximated, in whole or but for some rows.</param>
/// <param name="Rows">Queries of all heads.</param>
/// <param name="ApproximatedRows">Those that were approximated.</param>
/// <param name="FlatRows">Of certified attention: rows from moments of all keys.</param>
/// <param name="MergedRows">Of certified attention: rows from clusters of keys.</param>
/// <param name="QuantizedRows">Of certified and audited attention: rows from all keys in 16-bit integers.</param>
/// <param name="AuditedRows">Of audited attention: rows from clusters of keys without a bound.</param>
/// <param name="ShareBeyond">Of audited attention: in each head at most this share of them is beyond the tolerance, with 99 % confidence; otherwise null.</param>
/// <param name="Work">Of certified attention: multiply-adds over those of exact attention; otherwise null.</param>
/// <param name="LargestBound">Largest certified error of an output value, in units of V, rounding included; null when nothing is proved.</param>
/// <param name="CheckedRows">Of certified attention: rows computed again in double precision.</param>
/// <param name="LargestErrorOverBound">The largest error among them over the bound of its row; null when none was checked.</param>
/// <param name="Reason">Why the last head that was computed exactly was, or null.</param>
internal sealed record CertificateDocument(
    string Strategy, double Tolerance, long Heads, long ApproximatedHeads, long Rows, long ApproximatedRows, long FlatRows, long MergedRows,
    long QuantizedRows, long AuditedRows, double? ShareBeyond, double? Work, double? LargestBound, long CheckedRows, double? LargestErrorOverBound, string? Reason)
{
    public static CertificateDocument Of(string strategy, CertificateSummary summary, double tolerance, SampledAttention? sampled) => new(
        strategy, tolerance, summary.Heads, summary.Heads - summary.ExactHeads, summary.Rows, summary.Rows - summary.ExactRows,
        summary.FlatRows, summary.MergedRows, summary.QuantizedRows, summary.AuditedRows, summary.AuditedRows > 0 ? new AuditOptions().ShareBeyond : null, double.IsNaN(summary.Work) ? null : summary.Work, double.IsFinite(summary.LargestBound) ? summary.LargestBound : null,
        sampled?.CheckedRows ?? 0, sampled is { CheckedRows: > 0 } ? sampled.LargestErrorOverBound : null, summary.Reason);

    /// <summary>Writes what the document says.</summary>
    public void Show(Terminal terminal)
    {
        string name = $"{char.ToUpperInvariant(Strategy[0])}{Strategy[1..]}";
        string promise = LargestBound is { } bound ? string.Create(CultureInfo.InvariantCulture, $"every output within {bound:g3} of exact arithmetic")
            : ShareBeyond is { } share ? string.Create(CultureInfo.InvariantCulture, $"not proved: in each head at most {share:p1} of the rows beyond the tolerance, with 99 % confidence")
            : "no bound, since a value was not finite";
        terminal.Say(string.Create(
            CultureInfo.InvariantCulture,
            $"{name} attention, tolerance {Tolerance:g3} of the range of V: {ApproximatedHeads} of {Heads} heads and {ApproximatedRows} of {Rows} rows approximated, the rest exact; {promise}."));
        if (Work is { } work)
        {
            terminal.Say(string.Create(
                CultureInfo.InvariantCulture, $"  rows: {FlatRows} flat, {MergedRows + AuditedRows} merged, {QuantizedRows} quantized, {Rows - ApproximatedRows} exact; {work:0.000} of the multiply-adds of exact attention"));
        }

        if (LargestErrorOverBound is { } ratio)
        {
            terminal.Say(string.Create(CultureInfo.InvariantCulture, $"  {CheckedRows} rows computed again in double precision: error at most {ratio:g3} of its bound"));
        }

        if (Reason is not null)
        {
            terminal.Say($"  last exact head: {Reason}");
        }
    }
}
