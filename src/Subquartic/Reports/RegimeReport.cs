using System.Globalization;
using Subquartic.Attention;
using Subquartic.Criteria;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports;

/// <summary>Certified attention of one synthetic head at one side.</summary>
/// <param name="Side">n.</param>
/// <param name="Flat">Share of the rows computed from moments of all keys.</param>
/// <param name="Merged">Share of the rows computed from clusters of keys.</param>
/// <param name="Exact">Share of the rows computed exactly.</param>
/// <param name="Work">Multiply-adds over those of exact attention, trials included.</param>
/// <param name="Bound">Largest certified error, as a fraction of the range of V.</param>
/// <param name="Audited">Share of the rows that audited attention computes from clusters of keys, without a bound.</param>
/// <param name="AuditedWork">Its multiply-adds over those of exact attention, audits included.</param>
public sealed record RegimePoint(int Side, double Flat, double Merged, double Exact, double Work, double Bound, double Audited, double AuditedWork)
{
    /// <summary>The path of most rows: flat, merged or exact.</summary>
    public string Path => Flat > 0.5 ? "flat" : Merged > 0.5 ? "merged" : "exact";
}

/// <summary>One kind of head over the sides.</summary>
/// <param name="Field">What it is made of.</param>
/// <param name="Points">The sides, each twice the one before.</param>
/// <param name="Exponent">Slope of log multiply-adds over log n between the two largest sides; 4 for exact attention.</param>
public sealed record RegimeRow(string Field, IReadOnlyList<RegimePoint> Points, double Exponent);

/// <summary>Where certified attention is flat, merged or exact, and what audited attention does there: score scale and smoothness against the side of the last map.</summary>
/// <param name="Width">Width of the heads.</param>
/// <param name="Tolerance">Largest error allowed, as a fraction of the range of V.</param>
/// <param name="Rows">Kinds of heads.</param>
public sealed record RegimeReport(int Width, double Tolerance, IReadOnlyList<RegimeRow> Rows)
{
    /// <summary>Smallest side.</summary>
    public const int FirstSide = 32;

    /// <summary>The kinds of heads, from the easiest to the hardest.</summary>
    public static IReadOnlyList<TokenField> Fields { get; } =
    [
        new(TokenFieldKind.Independent, 0, 0.25),
        new(TokenFieldKind.Independent, 0, 0.5),
        new(TokenFieldKind.Independent, 0, 1),
        new(TokenFieldKind.Independent, 0, 8),
        new(TokenFieldKind.BandLimited, 1, 4),
        new(TokenFieldKind.BandLimited, 1, 16),
        new(TokenFieldKind.BandLimited, 2, 4),
        new(TokenFieldKind.PowerLaw, 2, 4),
        new(TokenFieldKind.PowerLaw, 2, 16),
        new(TokenFieldKind.PowerLaw, 2, 4, 0.1),
        new(TokenFieldKind.PowerLaw, 1.5, 4),
        new(TokenFieldKind.Network, 2, 8),
    ];

    /// <summary>Runs certified and audited attention on every kind of head. Counts are deterministic; nothing is timed.</summary>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="maxSide">Largest n; sides run from <see cref="FirstSide"/>, doubling.</param>
    /// <param name="width">Width of the heads.</param>
    /// <param name="tolerance">Largest error allowed, as a fraction of the range of V.</param>
    /// <param name="progress">Told each head.</param>
    /// <param name="cancellation">Stops between heads.</param>
    /// <returns>The report.</returns>
    public static RegimeReport Measure(
        KernelSet kernels, int maxSide, int width, double tolerance, Action<string>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxSide, FirstSide);
        var costs = new Lazy<CertifiedCosts>(CertifiedCosts.WithoutIntegers);
        using var certified = new CertifiedAttention(kernels, tolerance, costs);
        using var audited = new AuditedAttention(kernels, tolerance, costs: costs);
        var rows = new List<RegimeRow>();
        foreach (TokenField field in Fields)
        {
            var points = new List<RegimePoint>();
            for (int side = FirstSide; side <= maxSide; side *= 2)
            {
                cancellation.ThrowIfCancellationRequested();
                progress?.Invoke($"{field}, n = {side}");
                points.Add(MeasureSide(certified, audited, field, side, width));
            }

            // Pairs grow as n^4 exactly, since all maps grow in proportion.
            double exponent = points.Count < 2 ? double.NaN : 4 + Math.Log2(points[^1].Work / points[^2].Work);
            rows.Add(new RegimeRow(field.ToString(), points, exponent));
        }

        return new RegimeReport(width, tolerance, rows);
    }

    /// <summary>The map: a cell for each head and side, coloured by path, with how many times less work it took.</summary>
    /// <returns>An SVG document.</returns>
    public string Picture() => CellGrid.Draw(
        string.Create(CultureInfo.InvariantCulture, $"Certified attention, width {Width}, tolerance {Tolerance}: exact work / work"),
        [.. Rows[0].Points.Select(point => $"n = {point.Side}"), "exponent"],
        [.. Rows.Select(row => (row.Field, (IReadOnlyList<(string, string)>)
        [
            .. row.Points.Select(point => (string.Create(CultureInfo.InvariantCulture, $"{1 / point.Work:0.0}x"), Colour(point.Path))),
            (string.Create(CultureInfo.InvariantCulture, $"{row.Exponent:0.00}"), "#ffffff"),
        ]))],
        [("flat", Colour("flat")), ("merged", Colour("merged")), ("exact", Colour("exact"))]);

    private static string Colour(string path) => path switch { "flat" => "#9ecae1", "merged" => "#a1d99b", _ => "#e0e0e0" };

    private static RegimePoint MeasureSide(CertifiedAttention certified, AuditedAttention audited, TokenField field, int side, int width)
    {
        ScaleSchedule maps = TokenFieldSampler.Schedule(side);
        int queries = side * side, keys = maps.Tokens;
        using var memory = new FloatBuffer(((2L * queries) + (2L * keys)) * width);
        Matrix q = memory.Matrix(queries, width), k = memory.Matrix(keys, width, (long)queries * width);
        Matrix v = memory.Matrix(keys, width, (long)(queries + keys) * width), o = memory.Matrix(queries, width, (queries + (2L * keys)) * width);
        TokenFieldSampler.Draw(field, maps, width, 1, q, k, v);
        var input = new AttentionInput(HeadTensor.Interleaved(q, 1, 1), HeadTensor.Interleaved(k, 1, 1), HeadTensor.Interleaved(v, 1, 1), 1, maps);
        Certificate certificate = certified.Attend(input, HeadTensor.Interleaved(o, 1, 1));
        Certificate audit = audited.Attend(input, HeadTensor.Interleaved(o, 1, 1));
        double range = 0;
        for (int c = 0; c < width; c++)
        {
            float least = float.PositiveInfinity, most = float.NegativeInfinity;
            for (int row = 0; row < keys; row++)
            {
                (least, most) = (Math.Min(least, v.Row(row)[c]), Math.Max(most, v.Row(row)[c]));
            }

            range = Math.Max(range, (double)most - least);
        }

        return new RegimePoint(
            side, (double)certificate.FlatRows / queries, (double)certificate.MergedRows / queries, (double)certificate.ExactRows / queries,
            certificate.Work, certificate.ErrorBound / range, (double)audit.AuditedRows / queries, audit.Work);
    }
}
