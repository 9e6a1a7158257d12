using System.Numerics.Tensors;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Layers;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Models;

/// <summary>The residual quantiser over all scales: f = sum over k of phi_k(up(codebook[tokens_k])), where up is bicubic to the size of
/// the last map and phi_k(h) = (1 - r) h + r conv3x3(h) (VAR models/quant.py, VectorQuantizer2).</summary>
/// <remarks>Tokens of all scales stand in one row per image, scale after scale, each map row by row.</remarks>
public sealed class MultiScaleQuantizer : IDisposable
{
    // Rows of scores held at once by the search for the nearest code: 64 x 4096 floats are 1 MB, within the second-level caches.
    private const int SearchRows = 64;

    private readonly KernelSet _kernels;
    private readonly FloatBuffer _codebook;
    private readonly PackedConvolution[] _phi;
    private readonly PackedMatrix _search;
    private readonly FloatBuffer _searchBias;

    private MultiScaleQuantizer(CheckpointView view, VqVaeConfig config, ScaleSchedule scales, KernelSet kernels)
    {
        _kernels = kernels;
        Vocabulary = config.Vocabulary;
        CodeChannels = config.CodeChannels;
        Scales = scales;
        _codebook = view.Get("embedding.weight", Vocabulary, CodeChannels);
        string[] names = config.SharedPhi switch
        {
            0 => [.. Enumerable.Range(0, scales.Count).Select(k => $"quant_resi.{k}")],
            1 => ["quant_resi.qresi"],
            _ => [.. Enumerable.Range(0, config.SharedPhi).Select(k => $"quant_resi.qresi_ls.{k}")],
        };
        _phi = [.. names.Select(name => LoadPhi(view, name, config, kernels))];
        _searchBias = new FloatBuffer(Vocabulary);
        using var weights = new FloatBuffer((long)Vocabulary * CodeChannels);
        Matrix search = weights.Matrix(Vocabulary, CodeChannels);
        PrepareSearch(Codebook, config.UseZNorm, search, _searchBias.Span());
        _search = kernels.Pack(search);
    }

    /// <summary>Size V of the codebook.</summary>
    public int Vocabulary { get; }

    /// <summary>Channels Cvae of a code vector.</summary>
    public int CodeChannels { get; }

    /// <summary>The token maps; feature maps have the size of the last one.</summary>
    public ScaleSchedule Scales { get; }

    /// <summary>The code vectors (V, Cvae).</summary>
    public Matrix Codebook => _codebook.Matrix(Vocabulary, CodeChannels);

    /// <summary>Reads the quantiser.</summary>
    /// <param name="view">Its tensors, <c>quantize.</c> in the official releases.</param>
    /// <param name="config">Sizes and switches of the VQ-VAE.</param>
    /// <param name="scales">The token maps.</param>
    /// <param name="kernels">The kernels that will run it.</param>
    /// <returns>The quantiser; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">A tensor is missing or has another shape.</exception>
    public static MultiScaleQuantizer Load(CheckpointView view, VqVaeConfig config, ScaleSchedule scales, KernelSet kernels)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(scales);
        ArgumentNullException.ThrowIfNull(kernels);
        return new MultiScaleQuantizer(view, config, scales, kernels);
    }

    /// <summary>Which phi convolution a scale uses: the nearest of K ticks spread over [0, 1] to k / (S - 1), the first on a tie, computed
    /// as the reference does in double, since rounding decides some ties (VAR models/quant.py, PhiPartiallyShared.__getitem__).</summary>
    /// <param name="scale">Index k of the scale.</param>
    /// <returns>Index of the convolution, 0 to K - 1.</returns>
    public int PhiIndex(int scale)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)scale, (uint)Scales.Count, nameof(scale));
        return PhiIndex(scale, Scales.Count, _phi.Length);
    }

    /// <summary>The rule of <see cref="PhiIndex(int)"/> for <paramref name="count"/> convolutions shared by <paramref name="scales"/> scales.</summary>
    internal static int PhiIndex(int scale, int scales, int count)
    {
        double position = scales == 1 ? 0 : (double)scale / (scales - 1);
        double start = count == 4 ? 1.0 / 3 / count : 1.0 / 2 / count;
        double stop = 1 - start;
        double step = (stop - start) / (count - 1);
        int nearest = 0;
        double distance = double.PositiveInfinity;
        for (int i = 0; i < count; i++)
        {
            double tick = i > 0 && i == count - 1 ? stop : start + (i > 0 ? i * step : 0);
            if (Math.Abs(tick - position) < distance)
            {
                distance = Math.Abs(tick - position);
                nearest = i;
            }
        }

        return nearest;
    }

    /// <summary>fHat += phi_k(up(codebook[tokens])).</summary>
    /// <param name="tokens">Token ids of one scale, image after image: B * n_k of them.</param>
    /// <param name="scale">Index k of the scale.</param>
    /// <param name="fHat">(B, h_K, w_K, Cvae).</param>
    /// <exception cref="ArgumentException">The sizes do not fit together, or a token id is outside the codebook.</exception>
    public void Accumulate(ReadOnlySpan<int> tokens, int scale, FeatureMap fHat)
    {
        using Scratch scratch = Scratch.Rent((long)tokens.Length * CodeChannels);
        Matrix embeddings = scratch.Buffer.Matrix(tokens.Length, CodeChannels);
        Matrix codebook = Codebook;
        for (int i = 0; i < tokens.Length; i++)
        {
            if ((uint)tokens[i] >= (uint)Vocabulary)
            {
                throw new ArgumentException($"Token {i} of scale {scale} is {tokens[i]}; the codebook has {Vocabulary} entries.", nameof(tokens));
            }

            codebook.Row(tokens[i]).CopyTo(embeddings.Row(i));
        }

        Accumulate(embeddings, scale, fHat);
    }

    /// <summary>fHat += phi_k(up(embeddings)): as with tokens, for code vectors of any value (the "more smooth" sampling).</summary>
    /// <param name="embeddings">(B * n_k, Cvae), contiguous, image after image.</param>
    /// <param name="scale">Index k of the scale.</param>
    /// <param name="fHat">(B, h_K, w_K, Cvae).</param>
    /// <exception cref="ArgumentException">The sizes do not fit together.</exception>
    public void Accumulate(Matrix embeddings, int scale, FeatureMap fHat)
    {
        PackedConvolution phi = _phi[PhiIndex(scale)];
        RequireFeatureMap(fHat, nameof(fHat));
        TokenMapSize size = Scales[scale];
        if (embeddings.Columns != CodeChannels || embeddings.Rows != fHat.Batch * size.Tokens || !embeddings.IsContiguous)
        {
            throw new ArgumentException(
                $"({embeddings.Rows}, {embeddings.Columns}) values are not the {size} tokens of scale {scale} with {CodeChannels} channels " +
                $"for {fHat.Batch} images, or not contiguous.", nameof(embeddings));
        }

        var map = new FeatureMap(embeddings.Buffer, embeddings.Offset, fHat.Batch, size.Height, size.Width, CodeChannels);
        var accumulate = new ConvolutionOptions { Residual = fHat };
        if (size == Scales.Last)
        {
            _kernels.Convolve(map, phi, fHat, accumulate);
            return;
        }

        using Scratch scratch = Scratch.Rent(fHat.Length);
        FeatureMap enlarged = scratch.Buffer.FeatureMap(fHat.Batch, fHat.Height, fHat.Width, CodeChannels);
        Interpolation.Bicubic(map, enlarged);
        _kernels.Convolve(enlarged, phi, fHat, accumulate);
    }

    /// <summary>The transformer's input for the scale after <paramref name="scale"/>: fHat, averaged down to that scale's map
    /// (VAR models/quant.py, get_next_autoregressive_input).</summary>
    /// <param name="fHat">(B, h_K, w_K, Cvae).</param>
    /// <param name="scale">Index k of the scale just done, not the last.</param>
    /// <param name="input">(B, h_(k+1), w_(k+1), Cvae), overwritten.</param>
    /// <exception cref="ArgumentException">The sizes do not fit together, or there is no next scale.</exception>
    public void NextInput(FeatureMap fHat, int scale, FeatureMap input)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)scale, (uint)Scales.Count - 1, nameof(scale));
        RequireFeatureMap(fHat, nameof(fHat));
        TokenMapSize size = Scales[scale + 1];
        if (input.Height != size.Height || input.Width != size.Width)
        {
            throw new ArgumentException($"The input is {input.Height}x{input.Width}, scale {scale + 1} has {size} tokens.", nameof(input));
        }

        Interpolation.Area(fHat, input);
    }

    /// <summary>Tokens of an encoded image: for each scale the codes nearest to what the scales before left over, by distance or, with
    /// <see cref="VqVaeConfig.UseZNorm"/>, by angle; the first on a tie (VAR models/quant.py, f_to_idxBl_or_fhat).</summary>
    /// <param name="f">(B, h_K, w_K, Cvae), the encoder's feature map.</param>
    /// <param name="tokens">B * L_K token ids, overwritten.</param>
    /// <param name="fHat">(B, h_K, w_K, Cvae), overwritten with what the tokens stand for.</param>
    /// <exception cref="ArgumentException">The sizes do not fit together.</exception>
    public void Quantize(FeatureMap f, Span<int> tokens, FeatureMap fHat) => Quantize(f, tokens, fHat, []);

    /// <summary>The same where some tokens were set otherwise than by distance: what these leave over is what later scales are the nearest codes of.</summary>
    /// <param name="f">(B, h_K, w_K, Cvae).</param>
    /// <param name="tokens">B * L_K ids of the nearest codes, overwritten.</param>
    /// <param name="fHat">(B, h_K, w_K, Cvae), overwritten with what the tokens stand for, set ones in place of the nearest.</param>
    /// <param name="set">B * L_K ids, -1 for the nearest; empty for the nearest everywhere.</param>
    internal void Quantize(FeatureMap f, Span<int> tokens, FeatureMap fHat, ReadOnlySpan<int> set)
    {
        RequireFeatureMap(f, nameof(f));
        RequireFeatureMap(fHat, nameof(fHat));
        if (fHat.Batch != f.Batch || tokens.Length != f.Batch * Scales.Tokens)
        {
            throw new ArgumentException(
                $"{f.Batch} feature maps have {f.Batch} x {Scales.Tokens} tokens; there is room for {tokens.Length} and {fHat.Batch} maps.", nameof(tokens));
        }

        fHat.Span().Clear();
        using Scratch scratch = Scratch.Rent(2L * Scales.Last.Tokens * CodeChannels);
        for (int b = 0; b < f.Batch; b++)
        {
            FeatureMap image = fHat.Image(b);
            FeatureMap rest = scratch.Buffer.FeatureMap(1, image.Height, image.Width, CodeChannels);
            for (int k = 0; k < Scales.Count; k++)
            {
                TokenMapSize size = Scales[k];
                FeatureMap reduced = scratch.Buffer.FeatureMap(1, size.Height, size.Width, CodeChannels, rest.Length);
                TensorPrimitives.Subtract(f.Image(b).Span(), image.Span(), rest.Span());
                Interpolation.Area(rest, reduced);
                Span<int> found = tokens.Slice(b * Scales.Tokens + Scales.Start(k), size.Tokens);
                FindNearest(_kernels, reduced.Pixels(), _search, _searchBias.Matrix(1, Vocabulary), found);
                Accumulate(set.IsEmpty ? found : Merge(set.Slice(b * Scales.Tokens + Scales.Start(k), size.Tokens), found), k, image);
            }
        }
    }

    /// <summary>Tokens that were set, and others where none was.</summary>
    /// <param name="set">Ids, -1 where none was set.</param>
    /// <param name="others">As many ids.</param>
    /// <returns>As many ids.</returns>
    internal static int[] Merge(ReadOnlySpan<int> set, ReadOnlySpan<int> others)
    {
        int[] merged = others.ToArray();
        for (int i = 0; i < merged.Length; i++)
        {
            merged[i] = set[i] < 0 ? merged[i] : set[i];
        }

        return merged;
    }

    /// <summary>The transformer's inputs for all scales but the first, from known tokens: teacher forcing
    /// (VAR models/quant.py, idxBl_to_var_input).</summary>
    /// <param name="tokens">B * L_K token ids; those of the last scale are not used.</param>
    /// <param name="input">(B * (L_K - n_1), Cvae), overwritten.</param>
    /// <exception cref="ArgumentException">The sizes do not fit together, or a token id is outside the codebook.</exception>
    public void TeacherInput(ReadOnlySpan<int> tokens, Matrix input)
    {
        int rows = Scales.Tokens - Scales[0].Tokens;
        int batch = tokens.Length / Scales.Tokens;
        if (tokens.Length != batch * Scales.Tokens || input.Rows != batch * rows || input.Columns != CodeChannels || !input.IsContiguous)
        {
            throw new ArgumentException(
                $"{tokens.Length} tokens with {Scales.Tokens} per image do not give ({input.Rows}, {input.Columns}) inputs, or these are not contiguous.",
                nameof(input));
        }

        using Scratch scratch = Scratch.Rent((long)Scales.Last.Tokens * CodeChannels);
        FeatureMap fHat = scratch.Buffer.FeatureMap(1, Scales.Last.Height, Scales.Last.Width, CodeChannels);
        for (int b = 0; b < batch; b++)
        {
            fHat.Span().Clear();
            for (int k = 0; k < Scales.Count - 1; k++)
            {
                TokenMapSize next = Scales[k + 1];
                long row = (long)b * rows + Scales.Start(k + 1) - Scales[0].Tokens;
                Accumulate(tokens.Slice(b * Scales.Tokens + Scales.Start(k), Scales[k].Tokens), k, fHat);
                NextInput(fHat, k, new FeatureMap(
                    input.Buffer, input.Offset + row * CodeChannels, 1, next.Height, next.Width, CodeChannels));
            }
        }
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        _codebook.Dispose();
        _search.Dispose();
        _searchBias.Dispose();
        Array.ForEach(_phi, phi => phi.Dispose());
    }

    // phi(h) = (1 - r) h + r conv(h) is itself a convolution: scaled weights, and 1 - r more on the centre of the diagonal.
    private static PackedConvolution LoadPhi(CheckpointView view, string name, VqVaeConfig config, KernelSet kernels)
    {
        int channels = config.CodeChannels;
        float share = Math.Abs(config.QuantizerResidual);
        using FloatBuffer weight = view.Get($"{name}.weight", channels, channels, 3, 3);
        using FloatBuffer bias = view.Get($"{name}.bias", channels);
        TensorPrimitives.Multiply(weight.Span(), share, weight.Span());
        TensorPrimitives.Multiply(bias.Span(), share, bias.Span());
        for (int c = 0; c < channels; c++)
        {
            weight.Span()[(c * channels + c) * 9 + 4] += 1 - share;
        }

        // No size is given, so that the convolution stays a direct one: its error adds up over the scales, its cost does not matter.
        return kernels.PackConvolution(new ConvolutionShape(channels, channels, 3), weight.Span(), bias.Span());
    }

    /// <summary>Turns the search for the nearest code into a linear layer whose smallest output is the code: |z - e|^2 = |z|^2 + (|e|^2 - 2 z e),
    /// whose first part is the same for all codes; the angle needs -z e / |e|.</summary>
    /// <param name="codebook">(V, Cvae).</param>
    /// <param name="byAngle">Whether codes are matched by angle instead of distance.</param>
    /// <param name="weights">(V, Cvae), overwritten.</param>
    /// <param name="bias">(V), overwritten.</param>
    internal static void PrepareSearch(Matrix codebook, bool byAngle, Matrix weights, Span<float> bias)
    {
        for (int v = 0; v < codebook.Rows; v++)
        {
            ReadOnlySpan<float> code = codebook.Row(v);
            float squares = TensorPrimitives.SumOfSquares(code);
            bias[v] = byAngle ? 0 : squares;
            TensorPrimitives.Multiply(code, byAngle ? -1 / Math.Max(MathF.Sqrt(squares), 1e-12f) : -2, weights.Row(v));
        }
    }

    /// <summary>The code nearest to every vector, the first on a tie.</summary>
    /// <param name="kernels">The kernels the search is packed for.</param>
    /// <param name="vectors">(N, Cvae).</param>
    /// <param name="search">Packed weights of <see cref="PrepareSearch"/>.</param>
    /// <param name="bias">Its bias (1, V).</param>
    /// <param name="nearest">N token ids, overwritten.</param>
    internal static void FindNearest(KernelSet kernels, Matrix vectors, PackedMatrix search, Matrix bias, Span<int> nearest)
    {
        using Scratch scratch = Scratch.Rent((long)SearchRows * search.N);
        for (int start = 0; start < vectors.Rows; start += SearchRows)
        {
            int rows = Math.Min(SearchRows, vectors.Rows - start);
            Matrix scores = scratch.Buffer.Matrix(rows, search.N);
            kernels.Gemm(vectors.SliceRows(start, rows), search, scores, new GemmOptions { Bias = bias });
            for (int i = 0; i < rows; i++)
            {
                nearest[start + i] = TensorPrimitives.IndexOfMin<float>(scores.Row(i));
            }
        }
    }

    private void RequireFeatureMap(FeatureMap map, string name)
    {
        if (map.Height != Scales.Last.Height || map.Width != Scales.Last.Width || map.Channels != CodeChannels)
        {
            throw new ArgumentException(
                $"A feature map ({map.Height}, {map.Width}, {map.Channels}) was given; the model's are {Scales.Last} with {CodeChannels} channels.", name);
        }
    }
}
