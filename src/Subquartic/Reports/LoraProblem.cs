using Subquartic.Adapters;
using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training;
using Subquartic.Training.Operations;

namespace Subquartic.Reports;

/// <summary>One attention head with LoRA on its projections, over the scales 1, 2, 4, …, n: tokens X, frozen W*, factors A and B. The problem ALoRAGC of arXiv 2406.03136
/// on the very operations that train models.</summary>
internal sealed class LoraProblem : IDisposable
{
    /// <summary>Width of a token; the head may be narrower.</summary>
    public const int Width = 16;

    /// <summary>Rank of a change.</summary>
    public const int Rank = 2;

    private readonly FloatBuffer _tokens;
    private readonly Parameter _frozen;
    private readonly Tape _tape;

    /// <summary>Random tokens and weights.</summary>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="side">n.</param>
    /// <param name="width">d, of the head.</param>
    /// <param name="entry">Largest entry of X W*.</param>
    /// <param name="parts">Which projections are adapted: 0 is Q, 1 is K, 2 is V.</param>
    /// <param name="used">Coordinates of the tokens that are not near zero.</param>
    public LoraProblem(KernelSet kernels, int side, int width, double entry, int[] parts, int used = Width)
    {
        HeadWidth = width;
        Segments = Schedule(side);
        Tokens = Segments[^1].Keys;
        _tape = new Tape(kernels);
        _tokens = new FloatBuffer((long)Tokens * Width);
        Layer = new LoraLayer("attention", Width, 3 * width, Rank * parts.Length, 1, parts);
        _frozen = new Parameter("weight", 3 * width, Width) { Trainable = false };
        A = new Parameter("A", Layer.Rank, Width) { Decays = false };
        B = new Parameter("B", 3 * width, Layer.Rank) { Decays = false };
        var random = new Random(1);
        foreach (FloatBuffer values in (FloatBuffer[])[_tokens, _frozen.Value, A.Value])
        {
            foreach (ref float value in values.Span())
            {
                value = (2 * random.NextSingle()) - 1;
            }
        }

        for (int i = 0; i < Tokens; i++)
        {
            foreach (ref float value in X.Row(i)[used..])
            {
                value *= 1e-3f;
            }
        }

        // Queries and keys of the size asked for.
        Span<float> weights = _frozen.Value.Span();
        float factor = (float)(entry / Largest(Product(weights[..(2 * width * Width)].ToArray())));
        for (int i = 0; i < 2 * width * Width; i++)
        {
            weights[i] *= factor;
        }

        _frozen.Changed();
        A.Changed();
    }

    /// <summary>d.</summary>
    public int HeadWidth { get; }

    /// <summary>L.</summary>
    public int Tokens { get; }

    /// <summary>Which keys each query sees.</summary>
    public AttentionSegment[] Segments { get; }

    /// <summary>Shape of the change.</summary>
    public LoraLayer Layer { get; }

    /// <summary>A (rank, C).</summary>
    public Parameter A { get; }

    /// <summary>B (3d, rank).</summary>
    public Parameter B { get; }

    /// <summary>1/sqrt(d).</summary>
    public float Scale => 1 / MathF.Sqrt(HeadWidth);

    private Matrix X => _tokens.Matrix(Tokens, Width);

    /// <summary>The scales 1, 2, 4, …, n: 4^k tokens each.</summary>
    public static AttentionSegment[] Schedule(int side)
    {
        var segments = new List<AttentionSegment>();
        for (int n = 1, start = 0; n <= side; n *= 2)
        {
            segments.Add(new AttentionSegment(start, n * n, start + (n * n)));
            start += n * n;
        }

        return [.. segments];
    }

    /// <summary>Fills B at random, and moves the change to the given coordinates of the tokens.</summary>
    /// <param name="size">Largest entry of (alpha/rank) B A.</param>
    /// <param name="from">First coordinate that A reads; it reads half of them.</param>
    public void SetChange(double size, int from = 0)
    {
        var random = new Random(2);
        foreach (ref float value in B.Value.Span())
        {
            value = (2 * random.NextSingle()) - 1;
        }

        Layer.KeepParts(B.Value.Span());
        Span<float> a = A.Value.Span();
        for (int i = 0; i < a.Length; i++)
        {
            int column = i % Width;
            a[i] = column >= from && column < from + (Width / 2) ? (2 * random.NextSingle()) - 1 : 0;
        }

        float largest = Largest(Change());
        foreach (ref float value in B.Value.Span())
        {
            value *= largest > 0 ? (float)(size / largest) : 0;
        }

        A.Changed();
        B.Changed();
    }

    /// <summary>Largest entry of (alpha/rank) B A, of (alpha/rank) X B A, and of X W* + (alpha/rank) X B A, over queries and keys.</summary>
    public (double Change, double Product, double Gamma) Norms()
    {
        float[] change = Change()[..(2 * HeadWidth * Width)];
        float[] sum = [.. change.Select((value, i) => value + _frozen.Value.Span()[i])];
        return (Largest(change), Largest(Product(change)), Largest(Product(sum)));
    }

    /// <summary>Queries, keys and values (L, 3d) of the tape's current step.</summary>
    public Variable Project()
    {
        _tape.Reset();
        Variable x = _tape.New(Tokens, Width, needsGradient: false);
        X.Span().CopyTo(x.Value.Span());
        return _tape.Linear(x, _frozen, null, Layer, A, B);
    }

    /// <summary>The output of attention, copied.</summary>
    public float[] Output() => _tape.Attention(Project(), 1, 1, Scale, Segments).Value.Span().ToArray();

    /// <summary>Loss 1/2 |O - Y|^2 / L with its gradients in A and B.</summary>
    /// <param name="target">Y (L, d).</param>
    /// <param name="lowRank">How attention is computed; null computes exactly.</param>
    /// <returns>The loss.</returns>
    public double Step(float[] target, LowRankTraining? lowRank)
    {
        Variable output = _tape.Attention(Project(), 1, 1, Scale, Segments, lowRank);
        double loss = 0;
        Span<float> gradient = output.Gradient.Span();
        for (int i = 0; i < target.Length; i++)
        {
            float difference = output.Value.Span()[i] - target[i];
            loss += 0.5 * difference * difference;
            gradient[i] = difference / Tokens;
        }

        _tape.Backward();
        return loss / Tokens;
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        _tokens.Dispose();
        _frozen.Dispose();
        A.Dispose();
        B.Dispose();
        _tape.Dispose();
    }

    // (alpha/rank) B A (3d, C).
    private float[] Change()
    {
        float[] change = new float[3 * HeadWidth * Width];
        for (int i = 0; i < change.Length; i++)
        {
            for (int r = 0; r < Layer.Rank; r++)
            {
                change[i] += (float)Layer.Scale * B.Value.Span()[(i / Width * Layer.Rank) + r] * A.Value.Span()[(r * Width) + (i % Width)];
            }
        }

        return change;
    }

    // X times the transpose of weights (outputs, C).
    private float[] Product(float[] weights)
    {
        int outputs = weights.Length / Width;
        float[] product = new float[Tokens * outputs];
        for (int i = 0; i < Tokens; i++)
        {
            for (int o = 0; o < outputs; o++)
            {
                product[(i * outputs) + o] = System.Numerics.Tensors.TensorPrimitives.Dot(X.Row(i), weights.AsSpan(o * Width, Width));
            }
        }

        return product;
    }

    private static float Largest(float[] values) => values.Max(Math.Abs);
}
