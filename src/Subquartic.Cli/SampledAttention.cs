using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Cli;

/// <summary>Certified attention whose certificates are added up, and a few rows of which are computed again by the judge.</summary>
internal sealed class SampledAttention(KernelSet kernels, double tolerance, Lazy<CertifiedCosts> costs) : IAttention, IDisposable
{
    // One row of one head a call costs 1 / (heads * queries) of exact attention in plain double precision, some ten times slower.
    private const int RowsPerCall = 1;

    private readonly CertifiedAttention _inner = new(kernels, tolerance, costs);
    private readonly ReferenceAttention _judge = new();
    private double[] _bounds = [];
    private FloatBuffer _expected = new(0);

    /// <inheritdoc/>
    public string Name => _inner.Name;

    /// <summary>The certificates so far.</summary>
    public CertificateSummary Summary { get; } = new();

    /// <summary>Rows computed again.</summary>
    public long CheckedRows { get; private set; }

    /// <summary>Largest error of a row over its bound; the judge's rounding to float32 is taken off.</summary>
    public double LargestErrorOverBound { get; private set; }

    /// <inheritdoc/>
    public Certificate Attend(in AttentionInput input, HeadTensor output)
    {
        int heads = input.Queries.Batch * input.Queries.Heads, rows = input.Queries.Rows;
        if (_bounds.Length < heads * rows)
        {
            _bounds = new double[heads * rows];
        }

        Certificate certificate = _inner.Attend(input, output, _bounds.AsSpan(0, heads * rows));
        Summary.Add(certificate, input.Keys.Rows);
        for (int i = 0; i < RowsPerCall && heads * rows > 0; i++)
        {
            // Places that wander over heads and rows, the same in every run.
            Check(input, output, (int)((CheckedRows * 2654435761) % ((long)heads * rows)));
        }

        return certificate;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _inner.Dispose();
        _expected.Dispose();
    }

    private void Check(in AttentionInput input, HeadTensor output, int place)
    {
        int rows = input.Queries.Rows, head = place / rows, row = place % rows, width = output.Width;
        (int image, head) = (head / input.Queries.Heads, head % input.Queries.Heads);
        if (_expected.Length < width)
        {
            _expected.Dispose();
            _expected = new FloatBuffer(width);
        }

        Matrix expected = _expected.Matrix(1, width);
        _judge.Attend(
            new AttentionInput(
                One(input.Queries[image, head].SliceRows(row, 1)), One(input.Keys[image, head]), One(input.Values[image, head]), input.Scale),
            One(expected));
        for (int c = 0; c < width; c++)
        {
            double error = Math.Abs((double)output[image, head].Row(row)[c] - expected.Row(0)[c]) - Math.Abs(expected.Row(0)[c] * (1.0 / (1 << 24)));
            LargestErrorOverBound = Math.Max(LargestErrorOverBound, error <= 0 ? 0 : error / _bounds[place]);
        }

        CheckedRows++;
    }

    private static HeadTensor One(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);
}
