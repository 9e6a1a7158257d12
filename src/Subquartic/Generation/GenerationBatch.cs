using System.Numerics.Tensors;
using Subquartic.Attention;
using Subquartic.Imaging;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Generation;

/// <summary>Draws a few images at a time through all scales (VAR models/var.py, autoregressive_infer_cfg). Its memory is reserved once
/// and serves batch after batch.</summary>
internal sealed class GenerationBatch : IDisposable
{
    private readonly VarModel _transformer;
    private readonly VqVae _autoencoder;
    private readonly Critic? _critic;
    private readonly IAttention _attention;
    private readonly ScaleSchedule _scales;
    private readonly VarRun _run;
    private readonly FloatBuffer _featureMap;
    private readonly FloatBuffer _input;
    private readonly FloatBuffer _embeddings;
    private readonly FloatBuffer _pixels;
    private readonly int[] _tokens;
    private readonly int[] _pass;
    private readonly bool[] _known;
    private int[][] _orders = [];
    private readonly PackedMatrix _codebook;

    /// <summary>Reserves the memory.</summary>
    /// <param name="transformer">Predicts tokens.</param>
    /// <param name="autoencoder">Makes images of them.</param>
    /// <param name="critic">Chooses between the candidates of an image; not null where a request asks for several.</param>
    /// <param name="attention">How attention is computed.</param>
    /// <param name="codebook">The packed code vectors, (Cvae, V).</param>
    /// <param name="images">Images of the largest batch.</param>
    /// <param name="rows">Rows of the transformer's largest batch.</param>
    public GenerationBatch(VarModel transformer, VqVae autoencoder, Critic? critic, IAttention attention, PackedMatrix codebook, int images, int rows)
    {
        _transformer = transformer;
        _autoencoder = autoencoder;
        _critic = critic;
        _attention = attention;
        _codebook = codebook;
        _scales = transformer.Config.Scales;
        int channels = transformer.Config.CodeChannels;
        int largest = _scales.Sizes.Max(size => size.Tokens);
        Images = images;
        _run = transformer.CreateRun(attention, rows);
        _featureMap = new FloatBuffer((long)images * _scales.Last.Tokens * channels);
        _input = new FloatBuffer((long)images * largest * channels);
        _embeddings = new FloatBuffer((long)images * largest * channels);
        _pixels = new FloatBuffer((long)_scales.Last.Tokens * autoencoder.Config.DownSampling * autoencoder.Config.DownSampling * autoencoder.Config.ImageChannels);
        _tokens = new int[images * largest];
        _pass = new int[images * largest];
        _known = new bool[largest];
    }

    /// <summary>Images of the largest batch.</summary>
    public int Images { get; }

    /// <summary>Rows of the transformer's largest batch.</summary>
    public int Rows => _run.Capacity;

    /// <summary>Draws images.</summary>
    /// <param name="request">What to draw.</param>
    /// <param name="first">Index of the batch's first image in the request.</param>
    /// <param name="count">Images to draw, at most <see cref="Images"/>.</param>
    /// <param name="clock">Times the stages.</param>
    /// <param name="onScale">Told about each scale; may be null.</param>
    /// <param name="cancellation">Takes effect within a block or layer.</param>
    /// <returns>The images.</returns>
    public GeneratedImage[] Draw(
        GenerationRequest request, int first, int count, StageClock clock, Action<ScaleResult>? onScale, CancellationToken cancellation)
    {
        var drawn = new int[count][];
        int[]? candidates = request.Candidates > 1 ? Choose(request, first, drawn, _critic!, clock, cancellation) : null;
        FeatureMap featureMap = DrawMaps(request, first, drawn, candidates, _scales.Count, clock, onScale, cancellation);
        GeneratedImage[] images = Decode(request, first, featureMap, drawn, cancellation);
        clock.Decoder(count * _autoencoder.Config.DecoderFlops(_scales.Last));
        onScale?.Invoke(Result(request, first, _scales.Count - 1, featureMap, clock) with { Finished = images });
        return images;
    }

    /// <summary>Draws the beginnings of images, and lets the critic choose one for each.</summary>
    /// <returns>For each image the candidate to go on with. It is drawn again: to keep the state of the best so far would need a second cache of keys and values.</returns>
    private int[] Choose(GenerationRequest request, int first, int[][] drawn, Critic critic, StageClock clock, CancellationToken cancellation)
    {
        int count = drawn.Length;
        int[] labels = [.. request.Labels.Skip(first).Take(count)];
        int[] chosen = new int[count], candidates = new int[count];
        double[] best = [.. Enumerable.Repeat(double.NegativeInfinity, count)], scores = new double[count];
        for (int candidate = 0; candidate < request.Candidates; candidate++)
        {
            candidates.AsSpan().Fill(candidate);
            critic.Score(DrawMaps(request, first, drawn, candidates, critic.Scales, clock, null, cancellation), labels, scores);
            clock.Sampling();
            for (int i = 0; i < count; i++)
            {
                double score = Critic.Noisy(scores[i], request.Candidates, request.Seed, request.FirstIndex + first + i, candidate);
                (best[i], chosen[i]) = score > best[i] ? (score, candidate) : (best[i], chosen[i]);
            }
        }

        return chosen;
    }

    /// <summary>Draws the tokens of images without decoding them.</summary>
    /// <param name="request">What to draw.</param>
    /// <param name="first">Index of the batch's first image in the request.</param>
    /// <param name="drawn">One entry for each image to draw, at most <see cref="Images"/>; gets its tokens.</param>
    /// <param name="candidates">For each image, which of its candidates is drawn; null for the first.</param>
    /// <param name="scales">How many of the scales to draw.</param>
    /// <param name="clock">Times the stages.</param>
    /// <param name="onScale">Told about each scale but the last; may be null.</param>
    /// <param name="cancellation">Takes effect within a block.</param>
    /// <returns>The running feature maps after the last scale drawn, valid until the next call.</returns>
    public FeatureMap DrawMaps(
        GenerationRequest request, int first, int[][] drawn, int[]? candidates, int scales, StageClock clock, Action<ScaleResult>? onScale,
        CancellationToken cancellation)
    {
        int count = drawn.Length;
        bool guided = request.IsGuided;
        int[] labels = [.. request.Labels.Skip(first).Take(count)];
        int channels = _transformer.Config.CodeChannels;
        FeatureMap featureMap = _featureMap.FeatureMap(count, _scales.Last.Height, _scales.Last.Width, channels);
        featureMap.Span().Clear();
        FeatureMap input = default;
        for (int i = 0; i < count; i++)
        {
            drawn[i] = new int[_scales.Tokens];
        }

        _orders = _scales.PassesOf(request.Sampling.Passes);
        clock.Resume();
        _run.Begin(labels, guided);
        for (int scale = 0; scale < scales; scale++)
        {
            TokenMapSize size = _scales[scale];
            int rows = count * size.Tokens;
            _known.AsSpan().Clear();
            Matrix conditional = default;
            int passes = Passes(scale);
            for (int pass = 0; pass < passes; pass++)
            {
                Matrix logits = pass == 0
                    ? _run.Step(scale == 0 ? default : input.Pixels(), cancellation)
                    : _run.StepAgain(input.Pixels(), _known.AsSpan(0, size.Tokens), cancellation);
                clock.Transformer(_transformer.Config.Flops(scale, _run.Rows));
                conditional = logits.SliceRows(0, rows);
                TokenSampler.Sample(
                    _transformer.Kernels, conditional, guided ? logits.SliceRows(rows, rows) : default, request.Sampling,
                    Step(request, first, scale, candidates), _pass);
                Take(request, scale, first, count, pass, pass + 1 < passes ? input : default);
                clock.Sampling();
            }

            if (request.Sampling.MoreSmooth)
            {
                _autoencoder.Quantizer.Accumulate(MeanCodes(conditional, request.Kept, scale), scale, featureMap);
            }
            else
            {
                _autoencoder.Quantizer.Accumulate(_tokens.AsSpan(0, rows), scale, featureMap);
            }

            if (scale + 1 < scales)
            {
                input = _input.FeatureMap(count, _scales[scale + 1].Height, _scales[scale + 1].Width, channels);
                _autoencoder.Quantizer.NextInput(featureMap, scale, input);
            }

            clock.Quantizer();
            for (int i = 0; i < count; i++)
            {
                _tokens.AsSpan(i * size.Tokens, size.Tokens).CopyTo(drawn[i].AsSpan(_scales.Start(scale)));
            }

            if (onScale is not null && scale + 1 < _scales.Count)
            {
                RgbImage[] previews = request.Previews ? Preview(featureMap, size, cancellation) : [];
                clock.Previews();
                onScale(Result(request, first, scale, featureMap, clock) with { Previews = previews });
                clock.Resume();
            }
        }

        return featureMap;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _run.Dispose();
        _featureMap.Dispose();
        _input.Dispose();
        _embeddings.Dispose();
        _pixels.Dispose();
    }

    private SamplingStep Step(GenerationRequest request, int first, int scale, int[]? candidates)
    {
        int tokens = _scales[scale].Tokens;
        Matrix noise = request.RecordedNoise;
        return new SamplingStep
        {
            Scale = scale,
            Tokens = tokens,
            Guidance = SamplingStep.GuidanceAt(request.Guidance, scale, _scales.Count),
            Progress = SamplingStep.ProgressAt(scale, _scales.Count),
            Seed = request.Seed,
            FirstImage = request.FirstIndex + first,
            Candidates = candidates,
            RecordedNoise = noise,
            FirstRecorded = first * _scales.Tokens + _scales.Start(scale),
            RecordedPerImage = _scales.Tokens,
        };
    }

    private int Passes(int scale) => _orders[scale].Max() + 1;

    /// <summary>Takes the tokens whose turn it was, or those given in their place, and shows them to the next pass by its input, if there is one.</summary>
    private void Take(GenerationRequest request, int scale, int first, int count, int pass, FeatureMap input)
    {
        TokenMapSize size = _scales[scale];
        int start = _scales.Start(scale);
        for (int i = 0; i < count * size.Tokens; i++)
        {
            (int image, int place) = Math.DivRem(i, size.Tokens);
            if (_orders[scale][place] != pass)
            {
                continue;
            }

            int position = start + place;
            _tokens[i] = request.Kept is { } kept && kept.Keep[position] ? kept.Of(first + image)[position] : _pass[i];
            _known[place] = true;
            if (input.Buffer is not null)
            {
                Span<float> features = input.Pixels().Row(i);
                TensorPrimitives.Add(features, _autoencoder.Quantizer.Codebook.Row(_tokens[i]), features);
            }
        }
    }

    // Weights (B * tokens, V) times the codebook; given tokens have their own code.
    private Matrix MeanCodes(Matrix weights, KeptTokens? kept, int scale)
    {
        Matrix codes = _embeddings.Matrix(weights.Rows, _transformer.Config.CodeChannels);
        _transformer.Kernels.Gemm(weights, _codebook, codes);
        int tokens = _scales[scale].Tokens;
        for (int i = 0; kept is not null && i < weights.Rows; i++)
        {
            if (kept.Keep[_scales.Start(scale) + i % tokens])
            {
                _autoencoder.Quantizer.Codebook.Row(_tokens[i]).CopyTo(codes.Row(i));
            }
        }

        return codes;
    }

    private RgbImage[] Preview(FeatureMap featureMap, TokenMapSize size, CancellationToken cancellation)
    {
        // The input buffer is in use; embeddings are not, between scales.
        FeatureMap small = _embeddings.FeatureMap(featureMap.Batch, size.Height, size.Width, featureMap.Channels);
        Interpolation.Area(featureMap, small);
        var previews = new RgbImage[featureMap.Batch];
        for (int i = 0; i < previews.Length; i++)
        {
            previews[i] = RgbImage.From(DecodeOne(small.Image(i), cancellation));
        }

        return previews;
    }

    private GeneratedImage[] Decode(
        GenerationRequest request, int first, FeatureMap featureMap, int[][] drawn, CancellationToken cancellation)
    {
        var images = new GeneratedImage[featureMap.Batch];
        for (int i = 0; i < images.Length; i++)
        {
            FeatureMap pixels = DecodeOne(featureMap.Image(i), cancellation);
            images[i] = new GeneratedImage(request.FirstIndex + first + i, request.Labels[first + i], RgbImage.From(pixels), drawn[i])
            {
                Pixels = request.KeepPixels ? pixels.Span().ToArray() : null,
            };
        }

        return images;
    }

    private FeatureMap DecodeOne(FeatureMap featureMap, CancellationToken cancellation)
    {
        int factor = _autoencoder.Config.DownSampling;
        FeatureMap pixels = _pixels.FeatureMap(
            1, featureMap.Height * factor, featureMap.Width * factor, _autoencoder.Config.ImageChannels);
        _autoencoder.Decode(featureMap, pixels, _attention, cancellation);
        return pixels;
    }

    private ScaleResult Result(GenerationRequest request, int first, int scale, FeatureMap featureMap, StageClock clock)
    {
        int count = featureMap.Batch;
        long decoder = _autoencoder.Config.DecoderFlops(_scales.Last);
        long candidates = request.Candidates > 1 ? request.Candidates * Enumerable.Range(0, _critic!.Scales).Sum(Flops) : 0;
        long perImage = candidates + decoder;
        long done = candidates + (scale + 1 == _scales.Count ? decoder : 0);
        for (int k = 0; k < _scales.Count; k++)
        {
            perImage += Flops(k);
            done += k <= scale ? Flops(k) : 0;
        }

        return new ScaleResult
        {
            Scale = scale,
            Scales = _scales.Count,
            Size = _scales[scale],
            FirstImage = first,
            Images = count,
            Tokens = _tokens[..(count * _scales[scale].Tokens)],
            FeatureMap = featureMap.Span().ToArray(),
            Progress = (first + count * ((double)done / perImage)) / request.Labels.Count,
            Statistics = clock.Statistics,
        };

        long Flops(int k) => _transformer.Config.Flops(k, 1) * (_run.Rows / count) * Passes(k);
    }
}
